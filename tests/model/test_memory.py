import torch

from cotlens.model.memory import free_bytes, is_out_of_memory


def test_free_memory_is_the_machines() -> None:
    assert free_bytes(torch.device("cpu")) > 2**20


def test_only_memory_errors_count_as_such() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 byte"))
    assert is_out_of_memory(RuntimeError("std::bad_alloc"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
