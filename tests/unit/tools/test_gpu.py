"""`--device cuda` and `amk bench`: refusals anywhere, and the real thing where there is a GPU."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from signal import Signals
from time import perf_counter, sleep
from typing import Any

import pytest
from rich.console import Console

from amk.errors import AmkError
from amk.frontends.hf.source import open_model
from amk.tools.bench import parse_baselines, parse_contexts, show
from amk.tools.devices import Machine
from amk.tools.generate import first_difference, speed
from tests.unit.tools.shell import refusal, run

TINY = "random:tiny"
ON_24_SMS = ("--num-sms", "24")
PASS: dict[str, Any] = {
    "context": 128,
    "verdict": "pass",
    "reason": None,
    "us_per_token": 734.5,
    "roofline_fraction": 0.75,
    "bytes_per_token": 2_500_000_000,
    "time_to_first_token_us": 90_000.0,
    "fidelity": {"logits_error": [0.001, 0.009]},
}
FAIL: dict[str, Any] = {
    "context": 128,
    "verdict": "fail",
    "reason": "logits at position 113 differ",
}


def no_gpu() -> bool:
    return not Path("/dev/nvidiactl").exists()


class TestRefusals:
    @pytest.mark.skipif(not no_gpu(), reason="there is a GPU")
    @pytest.mark.parametrize(
        "command",
        [
            ("generate", TINY, "--prompt-ids", "1", "--device", "cuda"),
            ("eval", TINY, "--device", "cuda"),
            ("bench", TINY),
        ],
    )
    def test_without_a_gpu_one_line_says_what_is_missing(self, command: tuple[str, ...]) -> None:
        message = refusal("amk", *command)
        assert any(word in message for word in ("PyCUDA", "GPU", "nvcc")), message

    @pytest.mark.parametrize("text", ["", "128,", "0", "-1", "a", "128;256"])
    def test_contexts(self, text: str) -> None:
        with pytest.raises(AmkError, match="--context"):
            parse_contexts(text)

    def test_what_the_gpu_is_too_small_for(self) -> None:
        model, machine = open_model("random:llama-3-8b"), Machine("sm_90a", 132, 20 * 10**9)
        machine.check(model, "bf16", 132)
        with pytest.raises(AmkError, match=r"has 32.1 GB of weights in fp32, the GPU has 20.0 GB"):
            machine.check(model, "fp32", None)
        with pytest.raises(AmkError, match="--num-sms: 133 exceeds the 132 SMs of the GPU"):
            machine.check(model, "bf16", 133)
        Machine("sm_90a").check(model, "fp32", 500)

    def test_flags(self) -> None:
        assert "--baselines: 'vllm' is unknown" in refusal(
            "amk", "bench", TINY, "--baselines", "vllm"
        )
        assert "--launches: must be positive" in refusal("amk", "bench", TINY, "--launches", "0")
        assert "--tokens: must be positive" in refusal("amk", "bench", TINY, "--tokens", "0")
        for flags, message in (
            (("--temperature", "-1"), "temperature must be 0 or more"),
            (("--top-k", "-2"), "top-k must be from 0"),
            (("--top-p", "1.5"), "top-p must be above 0 and at most 1"),
            (("--seed", "-1"), "seed must be from 0"),
            (("--temperature", "1", "--verify"), "--verify"),
        ):
            assert message in refusal("amk", "generate", TINY, "--prompt-ids", "1", *flags)
        for path, message in (("/", "is a directory"), ("/dev/null/f", "no such file")):
            assert message in refusal("amk", "bench", TINY, "--trace", path)
        for command in ("bench", "eval"):
            assert "--num-sms: must be pos" in refusal("amk", command, TINY, "--num-sms", "0")


def test_drawn_tokens_follow_the_seed() -> None:
    def tokens(*flags: str) -> list[int]:
        done = run(
            *("amk", "generate", TINY, "--prompt-ids", "1,2,3", "--max-tokens", "8", "--json"),
            *("--num-sms", "4", *flags),
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["tokens"]

    drawn = tokens("--temperature", "1.5", "--top-k", "200", "--top-p", "0.99", "--seed", "5")
    assert drawn == tokens("--temperature", "1.5", "--top-k", "200", "--top-p", "0.99", "--seed=5")
    assert drawn != tokens("--temperature", "1.5", "--top-k", "200", "--top-p", "0.99")
    assert tokens() == tokens("--temperature", "0", "--seed", "5") == tokens("--top-k", "1")


def test_lists() -> None:
    assert parse_contexts("4096, 128,128") == [128, 4096]
    assert parse_baselines("none") == []
    assert parse_baselines("hf,graph,hf") == ["hf", "graph"]


def test_speed_is_the_devices_where_it_measures() -> None:
    assert speed([0, 1, 2], 250.0) == {"tokens_per_second": 4000.0, "us_per_token": 250.0}
    assert speed([0, 1, 3], None)["us_per_token"] == 2e6


def test_the_first_difference() -> None:
    assert first_difference([1, 2, 3], [1, 5, 3]) == 1
    assert first_difference([1, 2], [1, 2, 3]) == 2


def shown(results: list[Any], baselines: dict[str, list[Any]]) -> str:
    result = {
        "model": TINY,
        "device": "a GPU",
        "dtype": "bf16",
        "tokens": 128,
        "launches": 5,
        "ceiling_gbps": 4600.0,
        "weight_bytes": 10**9,
        "results": results,
        "baselines": baselines,
    }
    out = io.StringIO()
    show(result, Console(file=out, width=200))
    return out.getvalue()


def test_a_person_sees_no_latency_without_a_pass() -> None:
    text = shown([FAIL | {"us_per_token": 734.5}], {"graph": [PASS]})
    assert "734.5" in text.splitlines()[-1]
    assert "734.5" not in text.splitlines()[-2]
    assert "FAIL: logits at position 113 differ" in text
    assert "75.0 %" in text


def used_memory() -> int:
    """MiB of the first GPU's memory that are taken, by whatever process."""
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return int(subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0])


@pytest.mark.gpu
class TestOnTheGpu:
    @pytest.mark.parametrize("sync", ["flags", "counters"])
    def test_generate_equals_hugging_face(self, sync: str) -> None:
        done = run(
            *("amk", "generate", TINY, "--prompt-ids", "1,2,3", "--max-tokens", "150", *ON_24_SMS),
            *("--device", "cuda", "--dtype", "fp32", "--sync", sync, "--verify", "--json"),
        )
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["match"] is True
        assert 0 < found["us_per_token"] < 10_000

    def test_drawn_tokens_are_the_cpus(self) -> None:
        flags = ("--temperature", "0.9", "--top-k", "100", "--top-p", "0.95", "--seed", "3")
        common = ("amk", "generate", TINY, "--prompt-ids", "1,2,3", "--max-tokens", "40", "--json")
        made: list[list[int]] = []
        for device in ("cpu", "cuda"):
            done = run(*common, *ON_24_SMS, "--device", device, "--dtype", "fp32", *flags)
            assert done.returncode == 0, done.stderr
            made.append(json.loads(done.stdout)["tokens"])
        assert made[0] == made[1]
        assert len(set(made[0])) > 10

    def test_what_does_not_fit_is_refused_at_once(self) -> None:
        common = ("--prompt-ids", "1", "--device", "cuda")
        large = ("random:llama-3-70b", "--dtype", "fp32")
        for command in (("generate", *large, *common), ("eval", *large, "--device", "cuda")):
            assert "model 'random:llama-3-70b' has 282.2 GB of weights" in refusal("amk", *command)
        assert "has 282.2 GB of weights in fp32" in refusal("amk", "bench", *large)
        many = refusal("amk", "generate", TINY, *common, "--num-sms", "1000")
        assert many.startswith("--num-sms: 1000 exceeds the")

    @pytest.mark.parametrize("signal", [Signals.SIGINT, Signals.SIGTERM, Signals.SIGKILL])
    def test_who_is_told_to_end_ends_and_leaves_the_gpu_free(self, signal: Signals) -> None:
        command = ("generate", "random:smollm2-135m", "--prompt-ids", "1", "--device", "cuda")
        script = [sys.executable, "-m", "amk.tools.amk", *command, "--max-tokens", "8000"]
        alone = "PYTEST_XDIST_WORKER" not in os.environ
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        before = used_memory()
        with subprocess.Popen(script, text=True, **pipes) as process:
            assert process.stdout and process.stdout.read(20), process.communicate()[1]
            if alone:
                assert used_memory() > before
            process.send_signal(signal)
            began = perf_counter()
            rest, errors = process.communicate()
        assert perf_counter() - began < 5
        assert len(rest.split()) < 7000
        if signal is Signals.SIGKILL:
            assert process.returncode == -signal
        else:
            assert (process.returncode, errors) == (1, "error: interrupted\n")
        sleep(1)
        if alone:
            assert used_memory() <= before

    def test_text_is_printed(self) -> None:
        done = run(
            *("amk", "generate", TINY, "--prompt-ids", "1,2,3", "--max-tokens", "20", *ON_24_SMS),
            *("--device", "cuda"),
        )
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()[0].split()) == 23

    def test_eval_equals_hugging_face(self) -> None:
        done = run(
            *("amk", "eval", TINY, "--device", "cuda", "--dtype", "fp32", *ON_24_SMS),
            *("--tokens", "129", "--greedy", "40", "--json"),
        )
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["match"] is True
        assert found["perplexity_relative_error"] < 1e-6
        assert found["verdicts"] == {"perplexity": "pass", "greedy": "pass"}

    @pytest.mark.parametrize(
        "preset", ["tiny-mixtral", "tiny-olmoe", "tiny-qwen3-moe", "tiny-gpt-oss"]
    )
    def test_experts_equal_hugging_face(self, preset: str) -> None:
        done = run(
            *("amk", "eval", f"random:{preset}", "--device", "cuda", "--dtype", "fp32"),
            *(*ON_24_SMS, "--tokens", "129", "--greedy", "40", "--json"),
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["verdicts"] == {"perplexity": "pass", "greedy": "pass"}

    def test_bench_has_a_verdict_beside_every_latency(self, tmp_path: Path) -> None:
        trace = tmp_path / "trace.json"
        done = run(
            *("amk", "bench", TINY, "--context", "8,200", "--tokens", "16", *ON_24_SMS),
            *("--baselines", "graph,hf", "--trace", trace, "--json"),
        )
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert {"model", "device", "dtype", "ceiling_gbps", "results", "baselines"} <= set(found)
        assert list(found["baselines"]) == ["graph", "hf"]
        for entries in (found["results"], *found["baselines"].values()):
            assert [e["context"] for e in entries] == [8, 200]
        for entry in found["results"]:
            assert entry["verdict"] == "pass"
            assert entry["us_per_token"] > 0
            assert 0 < entry["roofline_fraction"] < 1
            assert max(entry["fidelity"]["positions"]) > 100
        events = json.loads(trace.read_text())["traceEvents"]
        for process in (0, 1):  # measured and predicted
            spans = [e for e in events if e["ph"] == "X" and e["pid"] == process]
            assert {e["args"]["step"] for e in spans} == {0, 1, 2, 3}
            assert {e["tid"] for e in spans} == set(range(24))
            assert all(e["dur"] >= 0 for e in spans)
