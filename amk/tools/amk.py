"""`amk`: the product's command line.

Commands only translate between the command line and the modules that do the work, which they import
when called, so that `amk --help` needs neither torch nor xDSL.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from amk.errors import AmkError

MODEL = (
    "a folder in Hugging Face layout, a .gguf file, an id of the Hugging Face hub, smollm2, or "
    "random:PRESET, random weights in a known shape (random:? lists them)"
)
EPILOG = f"MODEL is {MODEL}. Status 0: done; 1: refused, or no pass; 2: malformed."

app = typer.Typer(
    help="Compile a language model into one verified persistent kernel.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Device(StrEnum):
    cpu = "cpu"
    cuda = "cuda"


class Dtype(StrEnum):
    bf16 = "bf16"
    fp32 = "fp32"


class Quant(StrEnum):
    none = "none"
    int8 = "int8"


class Sync(StrEnum):
    flags = "flags"
    counters = "counters"


class Later(AmkError):
    """The command line asks for something that this version does not have yet."""


Model = Annotated[str, typer.Argument(metavar="MODEL", help=f"{MODEL[0].upper()}{MODEL[1:]}.")]
Json = Annotated[
    bool,
    typer.Option(
        "--json", help="Print one JSON object on standard output, and nothing else there."
    ),
]
DeviceOption = Annotated[Device, typer.Option(help="Where the compiled program runs.")]
DtypeOption = Annotated[
    Dtype | None,
    typer.Option(
        help="Type of weights and activations; sums are fp32.",
        show_default="fp32 on cpu, bf16 on cuda",
    ),
]
SmsOption = Annotated[
    int | None,
    typer.Option(
        help="Number of SMs to compile for, at least 1; with --device cuda at most the GPU's.",
        show_default="the target's or the GPU's, such as 132, or as many as have work",
    ),
]
SyncOption = Annotated[
    Sync, typer.Option(help="How SMs wait for each other: words that carry an epoch, or counters.")
]


def _examples(*lines: str) -> str:
    return "Examples:\n\n" + "\n\n".join(f"  [bold]{line}[/bold]" for line in lines)


@app.command(epilog=_examples("amk doctor", "amk doctor --json"))
def doctor(json: Json = False) -> None:
    """Say what this machine has, what is missing, and how to get it."""
    from amk.tools.console import finish, results
    from amk.tools.doctor import examine, show

    with results() as out:
        facts = examine()
        finish(out, facts, json, lambda console: show(facts, console))
    if not facts["ok"]:
        raise typer.Exit(1)


@app.command(
    epilog=_examples(
        "amk compile smollm2 -o out --dump-ir",
        "amk compile random:llama-3-8b -o out --num-sms 132 --json",
    )
)
def compile(
    model: Model,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Folder to write to.")
    ],
    arch: Annotated[
        str,
        typer.Option(
            help="Target: sm_80, sm_90a, sm_100a, sm_120a, or native for the GPU of this machine."
        ),
    ] = "sm_90a",
    num_sms: Annotated[
        int | None,
        typer.Option(
            help="Number of SMs to compile for, at least 1.",
            show_default="the target's, such as 132, or as many as have work",
        ),
    ] = None,
    dtype: Annotated[
        Dtype, typer.Option(help="Type of weights and activations; sums are fp32.")
    ] = Dtype.bf16,
    quant: Annotated[
        Quant, typer.Option(help="Quantization of the weights; int8 is not in this version.")
    ] = Quant.none,
    max_context: Annotated[
        int | None,
        typer.Option(
            help="Tokens of the longest sequence, prompt included: rows of the KV cache.",
            show_default="the model's, at most 4096",
        ),
    ] = None,
    sync: SyncOption = Sync.flags,
    sampling: Annotated[
        bool,
        typer.Option(
            "--sampling",
            help="Let a launch draw tokens by temperature, top-k and top-p; else the likeliest.",
        ),
    ] = False,
    dump_ir: Annotated[
        bool, typer.Option("--dump-ir", help="Write the IR of each of the four levels.")
    ] = False,
    gate: Annotated[
        bool,
        typer.Option(
            help="Compare with Hugging Face on the model's weights, and write nothing that differs."
        ),
    ] = True,
    json: Json = False,
) -> None:
    """Compile MODEL, prove the schedule, and write program, certificate and report.

    A program that does not compute what Hugging Face does is not written.
    """
    if quant is not Quant.none:
        raise Later(f"--quant {quant.value}: not in this version")
    from amk.tools.compile import compile_to, show
    from amk.tools.console import finish, results

    with results() as out:
        report = compile_to(
            model,
            output,
            arch=arch,
            num_sms=num_sms,
            dtype=dtype.value,
            max_context=max_context,
            sync=sync.value,
            sampling=sampling,
            dump_ir=dump_ir,
            gated=gate,
        )
        finish(out, report, json, lambda console: show(report, console))


@app.command(
    epilog=_examples(
        'amk generate smollm2 --prompt "The capital of France is" --max-tokens 32 --verify',
        'amk generate smollm2 --prompt "Once" --temperature 0.8 --top-p 0.95 --seed 7',
        "amk generate random:tinyllama-1.1b --prompt-ids 1,2,3 --max-tokens 4 --json",
    )
)
def generate(
    model: Model,
    prompt: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Text to continue; or give --prompt-ids.")
    ] = None,
    prompt_ids: Annotated[
        str | None, typer.Option(metavar="IDS", help="Token ids to continue, such as 1,2,3.")
    ] = None,
    max_tokens: Annotated[
        int,
        typer.Option(help="Tokens to generate, at least 1; fewer where the model ends the text."),
    ] = 32,
    device: DeviceOption = Device.cpu,
    dtype: DtypeOption = None,
    num_sms: SmsOption = None,
    sync: SyncOption = Sync.flags,
    temperature: Annotated[
        float | None,
        typer.Option(
            help="Draw tokens at this temperature, above 0; 0 takes the likeliest.",
            show_default="1 where another of these four is given, else 0",
        ),
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(
            help="Draw from this many of the likeliest tokens; 0 for all.", show_default="0"
        ),
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(
            help="Draw from the fewest tokens whose probabilities reach this sum, above 0 to 1.",
            show_default="1",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Seed of the draw, from 0 to 2^64 - 1: the same seed, the same tokens.",
            show_default="0",
        ),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Compare with the greedy tokens of Hugging Face in fp32; status 1 if others.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Compile MODEL, prove the schedule, run the compiled program, and print what it generates.

    Without a word on how to draw tokens, each is the likeliest.
    """
    from amk.tools.console import results
    from amk.tools.devices import DEVICES
    from amk.tools.generate import generate_tokens, parse_sampling

    with results() as out:
        ok = generate_tokens(
            model,
            prompt,
            prompt_ids,
            max_tokens=max_tokens,
            device=device.value,
            dtype=dtype.value if dtype else DEVICES[device.value].dtype,
            num_sms=num_sms,
            sync=sync.value,
            verify=verify,
            out=out,
            as_json=json,
            sampling=parse_sampling(temperature, top_k, top_p, seed),
        )
    if not ok:
        raise typer.Exit(1)


@app.command(
    epilog=_examples(
        "amk eval smollm2 --tokens 128 --json",
        "amk eval smollm2 --device cuda --dtype fp32 --tokens 1025 --greedy 256",
    )
)
def eval(
    model: Model,
    device: DeviceOption = Device.cpu,
    dtype: DtypeOption = None,
    num_sms: SmsOption = None,
    tokens: Annotated[
        int, typer.Option(help="Tokens of the built-in text to evaluate, at least 2.")
    ] = 513,
    greedy: Annotated[
        int, typer.Option(help="Greedy tokens to compare behind each of five prompts; 0 for none.")
    ] = 0,
    json: Json = False,
) -> None:
    """Compare the compiled program with Hugging Face in fp32, at every position of a text."""
    from amk.tools.console import finish, results
    from amk.tools.devices import DEVICES
    from amk.tools.evaluate import evaluate, show

    with results() as out:
        result = evaluate(
            model,
            device=device.value,
            dtype=dtype.value if dtype else DEVICES[device.value].dtype,
            num_sms=num_sms,
            tokens=tokens,
            greedy=greedy,
        )
        finish(out, result, json, lambda console: show(result, console))


@app.command(epilog=_examples("amk verify out/30-vm.mlir", "amk verify out/10-task.mlir --json"))
def verify(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.mlir", help="IR of any of the four levels; - for standard input."
        ),
    ],
    certificate: Annotated[
        Path | None,
        typer.Option(metavar="F", help="Write the proof of a safe vm program as a certificate."),
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(metavar="F", help="Write the counterexamples for ui.perfetto.dev."),
    ] = None,
    json: Json = False,
) -> None:
    """Prove FILE free of deadlocks and races: status 0 safe, 1 unsafe, 2 malformed."""
    from amk.tools.console import finish, results
    from amk.tools.verify import show, verify_file

    with results() as out:
        result = verify_file(file, certificate, trace)
        finish(out, result, json, lambda console: show(result, console))
    if not result["safe"]:
        raise typer.Exit(1)


@app.command(
    epilog=_examples(
        "amk run out/30-vm.mlir --prompt-ids 1,2,3 --weights smollm2",
        "amk run tiny.mlir --prompt-ids 1,2,3 --seed 7 --check --json",
    )
)
def run(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.mlir", help="IR of any of the four levels; - for standard input."
        ),
    ],
    prompt_ids: Annotated[
        str, typer.Option(metavar="IDS", help="Token ids to start from, such as 1,2,3.")
    ] = "1",
    max_tokens: Annotated[int, typer.Option(help="Tokens to generate, at least 1.")] = 8,
    weights: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Where the weights come from.", show_default="random"),
    ] = None,
    weight_seed: Annotated[int, typer.Option(help="Seed of random weights: any integer.")] = 0,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Interleave the SMs at random, by this seed: any integer.", show_default="in turn"
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Check every access against shadow memory, instead of proving FILE first.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Run FILE in the interpreter of its level and print the tokens."""
    from amk.tools.console import finish, results
    from amk.tools.execute import execute, show

    with results() as out:
        result = execute(
            file,
            prompt_ids=prompt_ids,
            max_tokens=max_tokens,
            weights=weights,
            weight_seed=weight_seed,
            seed=seed,
            check=check,
        )
        finish(out, result, json, lambda console: show(result, console))


@app.command(
    epilog=_examples(
        "amk bench random:llama-3.2-1b --context 128,4096",
        "amk bench smollm2 --baselines none --json",
    )
)
def bench(
    model: Model,
    context: Annotated[
        str,
        typer.Option(
            metavar="N,N", help="Rows of the KV cache before the first timed token: one or more."
        ),
    ] = "128",
    baselines: Annotated[
        str, typer.Option(metavar="NAMES", help="Some of graph,compile,hf; or none.")
    ] = "graph,compile,hf",
    launches: Annotated[
        int, typer.Option(help="Timed launches, at least 1; their median counts.")
    ] = 5,
    tokens: Annotated[int, typer.Option(help="Tokens per launch, at least 1.")] = 128,
    dtype: Annotated[
        Dtype, typer.Option(help="Type of weights and activations; sums are fp32.")
    ] = Dtype.bf16,
    num_sms: Annotated[
        int | None,
        typer.Option(
            help="Number of SMs to compile for, at least 1 and at most the GPU's.",
            show_default="the GPU's, or as many as have work",
        ),
    ] = None,
    sync: SyncOption = Sync.flags,
    trace: Annotated[
        Path | None,
        typer.Option(metavar="F", help="Write a timeline of a few steps, for ui.perfetto.dev."),
    ] = None,
    json: Json = False,
) -> None:
    """Measure MODEL on the GPU beside what one would run instead.

    Latencies are in microseconds per token, and printed only if the logits are the model's.
    """
    from amk.tools.bench import bench, show
    from amk.tools.console import finish, results

    with results() as out:
        result = bench(
            model,
            context=context,
            baselines=baselines,
            launches=launches,
            tokens=tokens,
            dtype=dtype.value,
            num_sms=num_sms,
            sync=sync.value,
            trace=trace,
        )
        finish(out, result, json, lambda console: show(result, console))
    if not result["ok"]:
        raise typer.Exit(1)


@app.command(
    name="check-certificate",
    epilog=_examples("amk check-certificate out/30-vm.mlir out/certificate.json"),
)
def check_certificate(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.mlir", help="IR of the vm level; - for standard input.")
    ],
    certificate: Annotated[Path, typer.Argument(metavar="CERT", help="Its certificate.")],
    json: Json = False,
) -> None:
    """Check a certificate with the independent checker: status 0 valid, 1 refused, 2 malformed."""
    from amk.tools.console import finish, results
    from amk.tools.proof import check_files, show

    with results() as out:
        result = check_files(file, certificate)
        finish(out, result, json, lambda console: show(result, console))
    if not result["valid"]:
        raise typer.Exit(1)


@app.command(
    name="fuzz-verifier",
    epilog=_examples("amk fuzz-verifier --count 1500", "amk fuzz-verifier --seed 2 --json"),
)
def fuzz_verifier(
    count: Annotated[int, typer.Option(help="Programs to try, at least 1.")] = 20_000,
    seed: Annotated[
        int, typer.Option(help="Which corpus, any integer: the same seed, the same programs.")
    ] = 1,
    json: Json = False,
) -> None:
    """Try the verifier on an adversarial corpus, against an oracle that shares no code with it.

    Status 1 if it is wrong about any program, documented conservative rules aside.
    """
    from amk.tools import fuzz
    from amk.tools.console import finish, results

    with results() as out:
        result = fuzz.fuzz_verifier(count, seed)
        finish(out, result, json, lambda console: fuzz.show(result, console))
    if fuzz.failed(result):
        raise typer.Exit(1)


INTERRUPTED = 130
"""What typer returns when it catches Ctrl-C."""


def main() -> None:
    from amk.tools.driver import UsageError, run_tool

    def body() -> None:
        try:
            status = app(prog_name="amk", standalone_mode=False)
        except typer.Abort:
            raise KeyboardInterrupt from None
        except Later as error:
            raise UsageError(str(error)) from error
        except AmkError:
            raise
        except Exception as error:
            # Typer's own exceptions have no common public base over its versions; they all format
            # themselves.
            if hasattr(error, "format_message"):
                raise UsageError(_usage(error)) from error
            raise
        if status == INTERRUPTED:
            raise KeyboardInterrupt
        if status:
            raise SystemExit(status)

    run_tool(body)


def _usage(error: Any) -> str:
    text = " ".join(str(error.format_message()).split()).removesuffix(".")
    text = text.replace(": Value error, ", ": ")
    return text[:1].lower() + text[1:]


if __name__ == "__main__":
    main()
