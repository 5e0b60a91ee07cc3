"""The command line: verbs only. What they do lives in the modules they call; how it looks, in `terminal`."""

from __future__ import annotations

import json
import logging
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cotlens.credentials import keep_environment
from cotlens.errors import CotlensError, InputError, InterruptedRunError, JudgeStoppedError, ModelNotFoundError
from cotlens.messages import PresentableFormatter, presentable

if TYPE_CHECKING:
    from cotlens.config import RunConfig
    from cotlens.model.source import ModelSource
    from cotlens.store import Run

__all__ = ["app", "main"]

logger = logging.getLogger("cotlens.cli")

app = typer.Typer(
    name="cotlens",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Find the neurons that carry a model's chain-of-thought arithmetic, and test what it can do without them.",
)

Out = Annotated[Path | None, typer.Option("--out", help="Run directory.", show_default=False)]
RunDir = Annotated[Path, typer.Argument(help="A run directory.", show_default=False)]
ModelName = Annotated[
    str,
    typer.Argument(help="smollm2-135m, a hub id, a folder, or a .gguf file; see `cotlens models`.", show_default=False),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, e.g. discover.top_k=10. Repeatable."),
]
Device = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:1, mps, auto, or sharded over all accelerators.", show_default=False)
]
Dtype = Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.", show_default=False)]
BatchSize = Annotated[int | None, typer.Option(help="Questions per forward pass.", show_default=False)]
Limit = Annotated[int | None, typer.Option(help="Use the first so many problems.", show_default=False)]
Seed = Annotated[int | None, typer.Option(help="Source of every random choice.", show_default=False)]
Chat = Annotated[
    bool | None,
    typer.Option("--chat/--no-chat", help="Use the tokenizer's chat template.", show_default=False),
]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run Python code that the model's checkpoint brings along.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Norm = Annotated[str, typer.Option(help="none, or gamma to fold the final norm's gain in.")]
Generator = Annotated[
    str | None,
    typer.Option(
        "--generator",
        metavar="URL",
        help="Answer the questions on a running OpenAI-compatible server with the same model.",
        show_default=False,
    ),
]
Judges = Annotated[
    list[str] | None,
    typer.Option(
        "--judge", metavar="JUDGE",
        help="lexicon, openai/MODEL, azure/DEPLOYMENT, anthropic/MODEL, hf/MODEL or mock/FILE. Given twice, the first "
        "decides, and their agreement is reported.",
        show_default=False,
    ),
]  # fmt: skip
BaseUrl = Annotated[
    list[str] | None,
    typer.Option(
        "--judge-base-url",
        metavar="URL",
        help="The judge's server, as URL; with judges of several providers JUDGE=URL for each. Repeatable.",
    ),
]
ApiVersion = Annotated[str | None, typer.Option("--judge-api-version", help="Azure's API version.", show_default=False)]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--judge-api-key",
        help="The judge's key, where all judges are at one server; better set in the environment.",
        show_default=False,
    ),
]
MaxCost = Annotated[
    float | None, typer.Option("--max-cost-usd", help="Most that judging may cost in this run.", show_default=False)
]
MaxCalls = Annotated[
    int | None, typer.Option("--max-calls", help="Most calls to judges in this run.", show_default=False)
]
PriceIn = Annotated[
    float | None, typer.Option("--price-in", help="US dollars per million tokens of question.", show_default=False)
]
PriceOut = Annotated[
    float | None, typer.Option("--price-out", help="US dollars per million tokens of reply.", show_default=False)
]
Concurrency = Annotated[
    int | None, typer.Option("--concurrency", help="Questions put to a judge at once.", show_default=False)
]
ConceptFile = Annotated[str | None, typer.Option("--concepts", help="YAML file of concepts.", show_default=False)]
OpenLabels = Annotated[
    bool | None, typer.Option("--open/--by-concept", help="Let the judge name the concepts.", show_default=False)
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what judging would cost, and ask nothing.")]
Protocol = Annotated[
    str | None,
    typer.Option(
        "--protocol", metavar="NAME",
        help="default or rai-yao-2024: the choices beneath those of CONFIG; see `cotlens protocols`.",
        show_default=False,
    ),
]  # fmt: skip
NewRun = Annotated[bool, typer.Option("--new-run", help="Start a fresh run beside one that is there.")]


@app.command()
def demo(
    out: Out = None,
    overrides: Overrides = None,
    device: Device = None,
    dtype: Dtype = None,
    batch_size: BatchSize = None,
    limit: Limit = None,
    seed: Seed = None,
    chat: Chat = None,
    new_run: NewRun = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Run the whole study on the embedded model and bundled problems, in a few minutes on two CPU cores."""
    from cotlens.config import default_study, load_config

    flags = _flags(device, dtype, batch_size, limit, seed, chat)
    config = load_config(overrides=overrides or (), flags=flags, base=default_study())
    _run(config, out or Path("runs/demo"), new_run, as_json)


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="A YAML run file.", show_default=False)],
    out: Out = None,
    protocol: Protocol = None,
    overrides: Overrides = None,
    device: Device = None,
    dtype: Dtype = None,
    batch_size: BatchSize = None,
    limit: Limit = None,
    seed: Seed = None,
    chat: Chat = None,
    trust_remote_code: TrustRemoteCode = False,
    generator: Generator = None,
    judge: Judges = None,
    judge_base_url: BaseUrl = None,
    judge_api_version: ApiVersion = None,
    judge_api_key: ApiKey = None,
    concepts: ConceptFile = None,
    open_labels: OpenLabels = None,
    max_cost_usd: MaxCost = None,
    max_calls: MaxCalls = None,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    concurrency: Concurrency = None,
    dry_run: DryRun = False,
    new_run: NewRun = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Run all stages of CONFIG; one that was interrupted goes on where it ended."""
    from cotlens.config import load_config

    flags = _flags(device, dtype, batch_size, limit, seed, chat) | {
        "protocol": protocol,
        "model.trust_remote_code": trust_remote_code or None,
        "generate.server": generator,
    }
    flags |= _judge_flags(judge, judge_base_url, judge_api_version, judge_api_key, concepts, open_labels)
    flags |= _cost_flags(max_cost_usd, max_calls, price_in, price_out, concurrency)
    loaded = load_config(config, overrides or (), flags)
    where = out or Path("runs") / config.stem
    if dry_run:
        _estimate(loaded, where, as_json)
    else:
        _run(loaded, where, new_run, as_json)


def _stage_command(stage: str, what: str) -> None:
    @app.command(stage, help=f"{what} Runs the stages before it first, where they are missing.")
    def command(
        run_dir: RunDir,
        overrides: Overrides = None,
        device: Device = None,
        batch_size: BatchSize = None,
        as_json: Json = False,
        debug: Debug = False,
    ) -> None:
        _run_stage(stage, run_dir, overrides, _flags(device=device, batch_size=batch_size), as_json)


def _run_stage(stage: str, run_dir: Path, overrides: list[str] | None, flags: dict[str, object], as_json: bool) -> None:
    from cotlens.config import load_config
    from cotlens.store import open_run

    _check_own_settings(stage, overrides or ())
    config = load_config(overrides=overrides or (), flags=flags, base=open_run(run_dir).config)
    _run(config, run_dir, new_run=False, as_json=as_json, stage=_LAST_PART.get(stage, stage))


#: Of a command that runs several stages the one that comes last.
_LAST_PART = {"project": "similar"}


@app.command()
def generate(
    run_dir: RunDir,
    overrides: Overrides = None,
    device: Device = None,
    batch_size: BatchSize = None,
    generator: Generator = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Let the model answer every question under every variant."""
    flags = _flags(device=device, batch_size=batch_size) | {"generate.server": generator}
    _run_stage("generate", run_dir, overrides, flags, as_json)


_stage_command("discover", "Record the top-K neurons of every layer at every generated token.")
_stage_command("project", "Find the tokens that each discovered neuron promotes and suppresses, and similar neurons.")


@app.command()
def label(
    run_dir: RunDir,
    judge: Judges = None,
    judge_base_url: BaseUrl = None,
    judge_api_version: ApiVersion = None,
    judge_api_key: ApiKey = None,
    concepts: ConceptFile = None,
    open_labels: OpenLabels = None,
    max_cost_usd: MaxCost = None,
    max_calls: MaxCalls = None,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    concurrency: Concurrency = None,
    dry_run: DryRun = False,
    ask_again: Annotated[
        bool, typer.Option("--ask-again", help="Ask anew what a judge refused, answered unreadably, or could not take.")
    ] = False,
    overrides: Overrides = None,
    device: Device = None,
    batch_size: BatchSize = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Let the judge say which neurons carry which concept. Runs the stages before it first, where they are missing."""
    from cotlens.config import load_config
    from cotlens.store import open_run

    _check_own_settings("label", overrides or ())
    flags = _flags(device=device, batch_size=batch_size)
    flags |= _judge_flags(judge, judge_base_url, judge_api_version, judge_api_key, concepts, open_labels)
    flags |= _cost_flags(max_cost_usd, max_calls, price_in, price_out, concurrency)
    config = load_config(overrides=overrides or (), flags=flags, base=_with_judges(open_run(run_dir).config, judge))
    if dry_run:
        _estimate(config, run_dir, as_json, ask_again)
    else:
        _run(config, run_dir, new_run=False, as_json=as_json, stage="label", ask_again=ask_again)


_stage_command("reread", "Read one variant's texts after every variant's prompt, if analyze.reread says so.")
_stage_command("analyze", "Compute accuracies, activity, comparisons and failures.")
_stage_command("intervene", "Edit sets of neurons, and random ones that match them.")
_stage_command("report", "Write report.html.")


@app.command()
def show(run_dir: RunDir, as_json: Json = False, debug: Debug = False) -> None:
    """Summarise a run in the terminal."""
    from cotlens.store import open_run

    _show(open_run(run_dir), as_json)


@app.command()
def view(
    run_dir: RunDir,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; a free one if left out.", show_default=False)
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; one that other machines reach needs --token.")
    ] = "127.0.0.1",
    token: Annotated[
        str | None, typer.Option(help="Asked of every reader; at least 8 characters.", show_default=False)
    ] = None,
    open_page: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in a browser.", show_default=False)
    ] = True,
    compare: Annotated[
        Path | None, typer.Option(metavar="RUN_DIR", help="A second run to compare with.", show_default=False)
    ] = None,
    static: Annotated[
        Path | None,
        typer.Option(metavar="OUT", help="Write the pages as files into a new folder instead.", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option(help="With --static: questions per variant.", min=1)] = 10,
    debug: Debug = False,
) -> None:
    """Look at a run in the browser. Ends with Ctrl-C."""
    from cotlens import terminal
    from cotlens.explorer import serve

    serve.check_extra()
    run_dirs = [run_dir] if compare is None else [run_dir, compare]
    with terminal.RichProgress() as progress:
        if static is not None:
            from cotlens.explorer.export import export

            export(run_dirs, static, limit, progress)
            terminal.say(f"{static / 'index.html'}: put the folder behind any web server")
            return
        server = serve.prepare(run_dirs, host, port, token, progress)

    def started(address: str) -> None:
        terminal.say(f"{address}  (Ctrl-C ends it)")
        sys.stdout.flush()
        if open_page and sys.stdout.isatty():
            serve.open_browser(address)

    server.serve(started)


@app.command()
def validate(
    target: Annotated[
        Path | None,
        typer.Argument(
            help="A YAML run file, or a run directory; may be left out with --protocol.", show_default=False
        ),
    ] = None,
    protocol: Protocol = None,
    overrides: Overrides = None,
    debug: Debug = False,
) -> None:
    """Check a run file and the lengths of its prompts, or the checksums of a run directory, without loading weights."""
    from cotlens import terminal
    from cotlens.config import load_config
    from cotlens.pipeline import validate as check
    from cotlens.prompt_lengths import check_prompt_lengths
    from cotlens.store import damaged_parts, open_run

    if target is None and protocol is None:
        raise InputError("name a YAML run file or a run directory, or a protocol with --protocol")
    if target is not None and target.is_dir():
        if protocol is not None:
            raise InputError(f"{target}: a run has its protocol already; leave --protocol out")
        run = open_run(target)
        if damaged := damaged_parts(run):
            raise InputError(
                f"{target}: damaged: {', '.join(damaged)}; `cotlens run` with its settings makes them again"
            )
        terminal.say(f"{target}: {sum(len(s.parts) for s in run.manifest.stages.values())} files, all intact")
        return
    config = load_config(target, overrides or (), {"protocol": protocol})
    problems = check(config)
    try:
        check_prompt_lengths(config, problems)
    except ModelNotFoundError as error:
        logger.warning("%s (so the lengths of the prompts were not checked)", error)
    terminal.say(
        f"{target or f'protocol {protocol}'}: valid; {config.model.name}, {len(problems)} problems x "
        f"{len(config.prompt.variants)} variants"
    )


@app.command()
def protocols(
    name: Annotated[str | None, typer.Argument(help="A protocol.", show_default=False)] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the protocols, or print the settings of one."""
    from cotlens import protocols, terminal

    if name is None:
        _print(dict(protocols.PROTOCOLS), as_json, terminal.protocol_table)
    elif as_json:
        _print(protocols.protocol_settings(name), as_json, None)
    else:
        sys.stdout.write(protocols.protocol_text(name))


@app.command()
def models(
    name: Annotated[
        str | None, typer.Argument(help="A model: its name, hub id, folder or file.", show_default=False)
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit of a hub model.", show_default=False)
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the models at hand, or tell what one is, without loading weights."""
    from cotlens import terminal
    from cotlens.model import catalog

    if name is None:
        _print(catalog.list_models(), as_json, terminal.model_table)
    else:
        _print(catalog.describe_model(name, revision), as_json, terminal.model_card)


@app.command()
def rescore(run_dir: RunDir, as_json: Json = False, debug: Debug = False) -> None:
    """Grade a run's stored completions again, without the model, and make its tables and report anew."""
    from cotlens import terminal
    from cotlens.pipeline import run_pipeline
    from cotlens.rescore import rescore as grade_again
    from cotlens.store import open_run

    found = grade_again(run_dir)
    with terminal.RichProgress() as progress:
        for stage in found.stale:
            run_pipeline(open_run(run_dir).config, run_dir, progress, only=stage)
    _print(found._asdict(), as_json, terminal.rescored_table)


@app.command()
def figures(
    run_dir: RunDir,
    formats: Annotated[list[str] | None, typer.Option("--format", help="pdf, svg or png. Repeatable.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder; RUN_DIR/figures if absent.")] = None,
    columns: Annotated[int, typer.Option(help="1 for figures of one column of a page, 2 for two.")] = 1,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a run's figures at the size of a paper's column, and its tables as CSV and Parquet."""
    from cotlens import terminal
    from cotlens.report.paper import write_figures
    from cotlens.store import open_run

    written = write_figures(open_run(run_dir), out or run_dir / "figures", formats or ["pdf"], columns)
    _print({"files": [str(path) for path in written]}, as_json, terminal.files_written)


@app.command()
def prompts(
    variant: Annotated[str | None, typer.Argument(help="A variant, or file:PATH.", show_default=False)] = None,
    diff: Annotated[
        tuple[str, str] | None, typer.Option(metavar="A B", help="Show how two variants differ.", show_default=False)
    ] = None,
    question: Annotated[str | None, typer.Option(help="The question that is asked.", show_default=False)] = None,
    overrides: Overrides = None,
    roles: Annotated[bool, typer.Option("--roles", help="Colour operands, operators, results, ...")] = False,
    model: Annotated[
        str | None, typer.Option(help="Count tokens, or with --chat use the template, of MODEL.", show_default=False)
    ] = None,
    chat: Chat = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the prompt variants, print one, or compare two."""
    from cotlens import prompt_views, terminal
    from cotlens.config import load_config

    _check_own_settings("prompt", overrides or ())
    config = load_config(overrides=overrides or (), flags=_flags(chat=chat)).prompt
    if config.chat and model is None:
        raise InputError("--chat needs the tokenizer of a model; name it with --model")
    asked = question or prompt_views.QUESTION
    tokenizer = _load_tokenizer(model) if model else None
    if diff is not None:
        _print(prompt_views.compare_prompts(*diff, asked, config, tokenizer), as_json, terminal.prompt_difference)
    elif variant is not None:
        _print(prompt_views.show_prompt(variant, asked, config, tokenizer, roles), as_json, terminal.prompt_text)
    else:
        _print(prompt_views.list_variants(config, tokenizer), as_json, terminal.variant_table)


@app.command()
def concepts(
    file: Annotated[
        str | None, typer.Argument(help="A YAML file of concepts; the paper's seven if left out.", show_default=False)
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Count the neurons of MODEL that pass the seed filter.", show_default=False)
    ] = None,
    run_dir: Annotated[
        Path | None, typer.Option("--run", help="Count those that were active in a run.", show_default=False)
    ] = None,
    min_seeds: Annotated[int, typer.Option(help="Distinct seeds among a neuron's tokens.", min=1)] = 2,
    judges: Annotated[bool, typer.Option("--judges", help="List the judges instead.")] = False,
    device: Device = None,
    dtype: Dtype = None,
    trust_remote_code: TrustRemoteCode = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List and check concepts, or try them on a model or a run, without asking a judge."""
    from cotlens import concept_views, terminal

    if judges:
        _print(concept_views.list_judges(), as_json, terminal.judge_table)
        return
    if model is not None and run_dir is not None:
        raise InputError("give --model or --run, not both")
    found = concept_views.list_concepts(file)
    if run_dir is not None:
        found |= concept_views.try_on_run(file, run_dir, min_seeds)
    elif model is not None:
        lm = _load(model, device, dtype, trust_remote_code)
        with terminal.RichProgress() as progress:
            found |= concept_views.try_on_model(file, lm, min_seeds, progress)
    _print(found, as_json, terminal.concept_table)


@app.command()
def neuron(
    model: ModelName,
    name: Annotated[str, typer.Argument(metavar="L12N345", help="Layer and index, from 0.", show_default=False)],
    top_n: Annotated[int, typer.Option(help="Tokens at each end.")] = 20,
    norm: Norm = "none",
    device: Device = None,
    dtype: Dtype = None,
    trust_remote_code: TrustRemoteCode = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show the tokens that a neuron promotes and suppresses."""
    from cotlens import terminal
    from cotlens.model.limits import check_token_count
    from cotlens.types import NeuronId

    wanted = NeuronId.parse(name)
    _check_norm(norm)
    source = _look_up(model, device, dtype)
    source.check_neuron(wanted)
    check_token_count(source, "--top-n", top_n)
    lm = _load(model, device, dtype, trust_remote_code)
    from cotlens.inspect import describe_neuron

    description = describe_neuron(lm, wanted, top_n, norm)
    _print(description, as_json, terminal.neuron_panel)


@app.command()
def search(
    model: ModelName,
    token: Annotated[
        str | None, typer.Argument(help='One token, with its leading space: " plus".', show_default=False)
    ] = None,
    token_id: Annotated[int | None, typer.Option(help="The token by its id instead.", show_default=False)] = None,
    top_k: Annotated[int, typer.Option(help="Neurons at each end.", min=1)] = 20,
    norm: Norm = "none",
    device: Device = None,
    dtype: Dtype = None,
    trust_remote_code: TrustRemoteCode = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show the neurons that promote or suppress a token most."""
    from cotlens import terminal
    from cotlens.model.limits import check_neuron_count

    checked = _check_norm(norm)
    if (token is None) == (token_id is None):
        raise InputError('give one token, as in: cotlens search MODEL " plus", or its id with --token-id')
    source = _look_up(model, device, dtype)
    check_neuron_count(source, "--top-k", top_k)
    chosen = _pick_token(source, token, token_id, trust_remote_code)
    lm = _load(model, device, dtype, trust_remote_code)
    from cotlens.project.search import describe_token

    _print(describe_token(lm, chosen, top_k, checked), as_json, terminal.search_tables)


@app.command()
def atlas(
    model: ModelName,
    out: Annotated[Path, typer.Option("--out", help="A file that ends in .parquet.", show_default=False)],
    top_n: Annotated[int, typer.Option(help="Tokens at each end.", min=1)] = 20,
    norm: Norm = "none",
    device: Device = None,
    dtype: Dtype = None,
    trust_remote_code: TrustRemoteCode = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write the projection of every neuron to a Parquet file."""
    from cotlens import terminal
    from cotlens.atlas_file import check_atlas_path
    from cotlens.model.limits import check_token_count
    from cotlens.model.source import resolve_model

    checked = _check_norm(norm)
    check_atlas_path(out)
    check_token_count(_look_up(model, device, dtype), "--top-n", top_n)
    lm = _load(model, device, dtype, trust_remote_code)
    from cotlens.atlas import write_atlas

    fingerprint = resolve_model(model).fingerprint()["fingerprint"]
    with terminal.RichProgress() as progress:
        written = write_atlas(lm, out, top_n, checked, fingerprint, progress)
    _print({"file": str(out), "size_bytes": out.stat().st_size} | written, as_json, terminal.atlas_line)


@app.command()
def trace(
    model: ModelName,
    text: Annotated[str, typer.Argument(help="Any text of at least two tokens.", show_default=False)],
    top_k: Annotated[int, typer.Option(help="Neurons per token.")] = 3,
    logit_lens: Annotated[
        bool, typer.Option("--logit-lens", help="Also read the residual stream after every layer.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page to look at.", show_default=False)
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
    trust_remote_code: TrustRemoteCode = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show which neurons fire, token by token, and what they promote."""
    from cotlens import terminal
    from cotlens.model.limits import check_top_k

    if html is not None and not html.parent.is_dir():
        raise InputError(f"--html {html}: there is no folder {html.parent}; name a file in a folder that is there")
    check_top_k(_look_up(model, device, dtype), "--top-k", top_k)
    lm = _load(model, device, dtype, trust_remote_code)
    from cotlens.inspect import trace_text

    traced = trace_text(lm, text, top_k, logit_lens)
    if html is None:
        _print(traced, as_json, terminal.trace_table)
        return
    from cotlens.files import write_atomic
    from cotlens.report.trace_page import render_trace

    write_atomic(html, render_trace(traced).encode("utf-8", "backslashreplace"))
    _print({"file": str(html), "tokens": len(traced["steps"])}, as_json, terminal.trace_line)


def main() -> None:
    """Entry point: runs a command, and turns errors into one line and an exit code."""
    debug = "--debug" in sys.argv
    _set_up_logging(debug)
    keep_environment()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _on_signal)
    try:
        outcome = app(standalone_mode=False)
        code = outcome if isinstance(outcome, int) else 0
    except JudgeStoppedError as error:
        code = _fail(JudgeStoppedError(f"{error}; go on with: {_this_command()}"), debug)
    except CotlensError as error:
        code = _fail(error, debug)
    except BrokenPipeError:
        code = 0  # the reader of our output has seen enough
    except Exception as error:  # noqa: BLE001 - the last line of defence: whatever happens, the user gets one line
        if hasattr(error, "format_message"):  # a usage error of the command-line parser
            code = _fail(_usage_error(error), debug)
        elif isinstance(error, OSError):
            code = _fail(_environment_fault(error), debug)
        else:
            code = _fail(CotlensError(f"unexpected {type(error).__name__}: {error}; --debug shows where"), debug)
    sys.exit(code)


def _run(
    config: RunConfig, out: Path, new_run: bool, as_json: bool, stage: str | None = None, ask_again: bool = False
) -> None:
    from cotlens import terminal
    from cotlens.pipeline import run_pipeline

    if new_run:
        out = _free_folder(out)
    with terminal.RichProgress() as progress:
        finished = run_pipeline(config, out, progress, only=stage, ask_again=ask_again)
    _show(finished, as_json)


def _estimate(config: RunConfig, out: Path, as_json: bool, ask_again: bool = False) -> None:
    """What judging would cost, in a run whose neurons are projected already."""
    from cotlens import terminal
    from cotlens.concepts.estimate import estimate
    from cotlens.pipeline import local_judge, validate
    from cotlens.store import open_run

    validate(config, with_inputs=False)
    run = open_run(out)
    run.manifest.config = config
    _print(estimate(run, local_judge(config), ask_again), as_json, terminal.estimate_table)


def _show(run: Run, as_json: bool) -> None:
    from cotlens import terminal
    from cotlens.summary import summarize

    _print(summarize(run), as_json, terminal.summary)


def _print(data: Any, as_json: bool, draw: Any) -> None:
    from cotlens import terminal

    if as_json:
        sys.stdout.write(json.dumps(data, indent=1, ensure_ascii=True) + "\n")
    else:
        terminal.draw(draw(data))


def _look_up(model: str, device: str | None, dtype: str | None) -> ModelSource:
    """The model's settings, to check flags by, before torch is imported (it takes seconds) and weights are fetched."""
    from cotlens.model.source import resolve_model

    _check_placement(device, dtype)
    return resolve_model(model, weights=False)


def _check_placement(device: str | None, dtype: str | None) -> None:
    from cotlens.devices import check_device, check_dtype

    check_device(device or "auto")
    check_dtype(dtype or "float32")


def _load(model: str, device: str | None, dtype: str | None, trust_remote_code: bool) -> Any:
    from cotlens.model.source import resolve_model

    _check_placement(device, dtype)
    source = resolve_model(model)
    from cotlens.model.load import load_source

    return load_source(source, device or "auto", dtype or "float32", trust_remote_code)


def _load_tokenizer(model: str, trust_remote_code: bool = False) -> Any:
    from cotlens.model.source import resolve_model

    source = resolve_model(model, weights=False)
    from cotlens.model.load import source_tokenizer

    return source_tokenizer(source, trust_remote_code)


def _check_norm(norm: str) -> Literal["none", "gamma"]:
    if norm not in ("none", "gamma"):
        raise InputError(f"--norm {norm!r}: give none or gamma")
    return norm  # type: ignore[return-value]


def _pick_token(source: ModelSource, token: str | None, token_id: int | None, trust_remote_code: bool) -> int:
    """The id of the token that the user gave as text or as id; what is no token is told before weights load."""
    if token_id is not None:
        from cotlens.model.limits import check_token_id

        check_token_id(source, "--token-id", token_id)
        return token_id
    assert token is not None
    from cotlens.model.load import source_tokenizer
    from cotlens.project.search import find_token

    return find_token(source_tokenizer(source, trust_remote_code), token)


def _flags(
    device: str | None = None,
    dtype: str | None = None,
    batch_size: int | None = None,
    limit: int | None = None,
    seed: int | None = None,
    chat: bool | None = None,
) -> dict[str, object]:
    return {
        "model.device": device,
        "model.dtype": dtype,
        "generate.batch_size": batch_size,
        "problems.limit": limit,
        "seed": seed,
        "prompt.chat": chat,
    }


def _with_judges(config: RunConfig, judges: list[str] | None) -> RunConfig:
    """A run's settings without the servers of judges that others take the place of."""
    if not judges:
        return config
    from cotlens.judge.registry import kept_servers

    label = config.label.model_copy(update={"base_url": kept_servers(config.label, judges)})
    return config.model_copy(update={"label": label})


def _judge_flags(
    judges: list[str] | None,
    base_urls: list[str] | None,
    api_version: str | None,
    api_key: str | None,
    concepts: str | None,
    open_labels: bool | None,
) -> dict[str, object]:
    if api_key is not None:
        from cotlens.judge.access import give_key

        give_key(api_key)
    parts = [text.partition("=") for text in base_urls or ()]
    named = {name: url for name, equals, url in parts if equals and "://" not in name}
    plain = ["".join(part) for part in parts if part[0] not in named]
    if len(plain) > 1 or (plain and named):
        raise InputError("--judge-base-url: with several servers write JUDGE=URL for each")
    return {
        "label.judge": judges[0] if judges else None,
        "label.second_judges": judges[1:] if judges else None,
        "label.base_url": plain[0] if plain else named or None,
        "label.api_version": api_version,
        "label.concepts": concepts,
        "label.mode": None if open_labels is None else "open" if open_labels else "concepts",
    }


def _cost_flags(
    max_cost_usd: float | None,
    max_calls: int | None,
    price_in: float | None,
    price_out: float | None,
    concurrency: int | None,
) -> dict[str, object]:
    return {
        "label.max_cost_usd": max_cost_usd,
        "label.max_calls": max_calls,
        "label.price_in_usd": price_in,
        "label.price_out_usd": price_out,
        "label.concurrency": concurrency,
    }


def _check_own_settings(stage: str, overrides: list[str] | tuple[()]) -> None:
    for text in overrides:
        if text.partition(".")[0] != stage:
            raise InputError(
                f"--set {text}: `cotlens {stage}` changes settings under {stage}.* only; to change others start a new "
                "run with `cotlens run`"
            )


def _free_folder(wanted: Path) -> Path:
    number, folder = 2, wanted
    while folder.exists():
        folder = wanted.with_name(f"{wanted.name}-{number}")
        number += 1
    return folder


def _set_up_logging(debug: bool) -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, force=True)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(PresentableFormatter("cotlens: %(message)s"))
    logging.getLogger("cotlens").setLevel(logging.DEBUG if debug else logging.INFO)


def _on_signal(number: int, _: object) -> None:
    raise InterruptedRunError(f"stopped by {signal.Signals(number).name}; go on with: {_this_command()}", number)


def _this_command() -> str:
    return shlex.join(["cotlens", *(word for word in sys.argv[1:] if word != "--new-run")])


def _usage_error(error: Any) -> CotlensError:
    hint = f"; see: {error.ctx.command_path} --help" if getattr(error, "ctx", None) else ""
    return InputError(error.format_message().rstrip(".") + hint)


def _environment_fault(error: OSError) -> CotlensError:
    from cotlens.errors import EnvironmentFault

    where = f"{error.filename}: " if error.filename else ""
    return EnvironmentFault(f"{where}{error.strerror or error}")


def _fail(error: CotlensError, debug: bool) -> int:
    if debug:
        import traceback

        sys.stderr.write(presentable(traceback.format_exc()))
    sys.stderr.write(presentable(f"cotlens: {' '.join(str(error).split())}\n"))
    return error.exit_code


if __name__ == "__main__":
    main()
