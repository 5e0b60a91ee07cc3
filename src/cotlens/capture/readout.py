"""From the residual stream to logits, in fp32: the final norm and the unembedding, and norms taken apart.

A norm is ``x -> gain * scale(x) * c(x) + bias``, where ``c`` takes off the mean in a layer norm and does nothing in an
RMS norm. With ``scale`` held at its value for one ``x`` (the norm is frozen) it is linear: what the parts of ``x``
contribute adds up to its output.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from cotlens.capture.wiring import Wiring, is_close, undefined
from cotlens.model.language_model import LanguageModel

__all__ = ["Norm", "Readout"]


class Norm:
    """A copy in fp32 of an RMS or layer norm, with its gain and bias, whatever its parametrisation."""

    def __init__(self, module: nn.Module, width: int, device: torch.device) -> None:
        with torch.inference_mode(False), torch.no_grad():
            self._module = copy.deepcopy(module).float().to(device)
            # Alternating ones have mean 0 and root mean square 1: the answer is the gain, with their signs, plus bias.
            probe = torch.ones(width, device=device)
            probe[1::2] = -1
            up, down = self._module(probe), self._module(-probe)
            self.gain: Float[Tensor, " D"] = (up - down) / (2 * probe)
            self.bias: Float[Tensor, " D"] = (up + down) / 2
            flat = self._module(probe.abs()) - self.bias
            # A layer norm makes nothing of a vector of equal entries.
            self._centred = bool(flat.norm() < 1e-3 * self.gain.norm())

    def __call__(self, x: Float[Tensor, "n D"]) -> Float[Tensor, "n D"]:
        """The norm itself."""
        out: Tensor = self._module(x)
        return out

    def scale(self, x: Float[Tensor, "n D"]) -> Float[Tensor, " n"]:
        """The number that each row is multiplied by: one over its root mean square or its standard deviation."""
        unscaled = self.through(x)
        return ((self(x) - self.bias) * unscaled).sum(dim=1) / unscaled.square().sum(dim=1).clamp(min=1e-30)

    def through(self, x: Float[Tensor, "n D"]) -> Float[Tensor, "n D"]:
        """The frozen norm at scale 1, without bias."""
        return self.gain * self._centre(x)

    def back(self, direction: Float[Tensor, "n D"]) -> Float[Tensor, "n D"]:
        """The transpose of `through`: what a direction after the norm is before it."""
        return self._centre(self.gain * direction)

    def _centre(self, x: Float[Tensor, "n D"]) -> Float[Tensor, "n D"]:
        return x - x.mean(dim=1, keepdim=True) if self._centred else x


class Readout:
    """Final norm, unembedding and what the model does to its logits; they are those of the model, in fp32.

    Raises:
        ModelFormatError: they are not, so the model does more than that.
    """

    def __init__(self, lm: LanguageModel, wiring: Wiring) -> None:
        head: Any = lm.model.get_output_embeddings()
        bias: Tensor | None = getattr(head, "bias", None)
        with torch.inference_mode(False):  # copies made in that mode could take no part in `slope`
            self.norm = Norm(wiring.final_norm, lm.d_model, lm.unembedding.device)
            self._unembedding = lm.unembedding.float()
            constant = self._unembedding @ self.norm.bias + (0 if bias is None else bias.detach().float())
            self._constant = constant if bool(constant.any()) else None
        self._multiplier, self._cap = wiring.logit_multiplier, lm.soft_cap
        self._check(lm, wiring)

    @property
    def vocabulary(self) -> int:
        return int(self._unembedding.shape[0])

    def frozen_direction(self, residual: Float[Tensor, "T D"], targets: Int64[Tensor, " T"]) -> Float[Tensor, "T D"]:
        """What a vector is multiplied with to give its part in the targets' logits, the norm frozen at ``residual``."""
        scale = self._multiplier * self.norm.scale(residual)
        return scale[:, None] * self.norm.back(self._unembedding[targets])

    def unscaled_logits(self, x: Float[Tensor, "n D"]) -> Float[Tensor, "n V"]:
        """What the unembedding makes of the frozen norm at scale 1, without constants: linear in ``x``."""
        return self.norm.through(x) @ self._unembedding.T

    def logits(self, residual: Float[Tensor, "n D"]) -> Float[Tensor, "n V"]:
        """The model's logits if ``residual`` went into the final norm."""
        return self._finished(self._scaled(residual))

    def log_probability(self, residual: Float[Tensor, "n D"], targets: Int64[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Log-probability of each target if ``residual`` went into the final norm."""
        return self.log_probability_of(self._scaled(residual), targets)

    def log_probability_of(self, scaled: Float[Tensor, "n V"], targets: Int64[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Log-probability of each target from scaled logits; what follows the unembedding is done to them here."""
        logits = self._finished(scaled)
        return logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(dim=1)

    @torch.inference_mode()
    def _check(self, lm: LanguageModel, wiring: Wiring) -> None:
        found = self._finished(self._scaled(wiring.stream.to(self._unembedding.device)))
        if not is_close(lm, found, wiring.logits.to(found.device)):
            raise undefined(lm, "its logits are not those of its final norm and unembedding", "norm, signed or grad")

    def _scaled(self, residual: Float[Tensor, "n D"]) -> Float[Tensor, "n V"]:
        return self.norm.scale(residual)[:, None] * self.unscaled_logits(residual)

    def _finished(self, scaled: Float[Tensor, "n V"]) -> Float[Tensor, "n V"]:
        logits = scaled if self._constant is None else scaled + self._constant
        if self._multiplier != 1:
            logits = logits * self._multiplier
        return logits if self._cap is None else self._cap * torch.tanh(logits / self._cap)

    def slope(self, residual: Float[Tensor, "T D"], targets: Int64[Tensor, " T"]) -> Float[Tensor, "T D"]:
        """The gradient of `log_probability` in ``residual``."""
        with torch.inference_mode(False), torch.enable_grad():
            at = residual.clone().requires_grad_()
            total = self.log_probability(at, targets.clone()).sum()
            return torch.autograd.grad(total, at)[0]
