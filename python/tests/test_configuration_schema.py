"""`thalweg schema` lets through what the program reads, and refuses what it refuses."""

import json
import subprocess
from pathlib import Path

import pytest

from thalweg import _native
from thalweg._find import find_binary

jsonschema = pytest.importorskip("jsonschema", reason="the package jsonschema is not installed")

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted((ROOT / "crates/thalweg-pipeline/tests/documents").glob("*.yaml"))
EXAMPLES = sorted((ROOT / "examples").glob("**/*.yaml"))

FINE = """
shared_memory:
  - {name: raw, shape: [4], dtype: float32}
  - {name: out, shape: [4], dtype: float32}
sources: []
kernels:
  - {name: stage, kind: cpu.scale, input: raw, output: out, parameters: {factor: 2.0}}
"""


def schema(*arguments):
    result = subprocess.run(
        [find_binary(), "schema", *arguments], capture_output=True, text=True, check=True
    )
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def usable():
    loaded = schema()
    jsonschema.Draft202012Validator.check_schema(loaded)
    return jsonschema.Draft202012Validator(loaded)


@pytest.fixture(scope="module")
def strict():
    loaded = schema("--strict")
    jsonschema.Draft202012Validator.check_schema(loaded)
    return jsonschema.Draft202012Validator(loaded)


def document(text):
    return json.loads(_native.yaml_to_json(text))


def complaints(validator, text):
    return [error.message for error in validator.iter_errors(document(text))]


def cases_without_errors():
    """The documents among the rules of the grammar that the program reads."""
    for path in sorted((ROOT / "crates/thalweg-pipeline/tests/rules").glob("*.txt")):
        chapters = path.read_text().split("### ")[1:]
        appended = ""
        if chapters[0].startswith("...\n"):
            appended = chapters.pop(0).partition("\n")[2]
        for chapter in chapters:
            title, _, rest = chapter.partition("\n")
            text, mark, problems = rest.partition("==> ")
            errors = [line for line in (mark + problems).split("==> ") if "warning: " not in line]
            if not any(errors):
                yield pytest.param(text + appended, id=f"{path.stem}: {title}")


@pytest.mark.parametrize("path", DOCUMENTS + EXAMPLES, ids=lambda path: path.name)
def test_documents_pass(usable, path):
    assert complaints(usable, path.read_text()) == []


@pytest.mark.parametrize("text", list(cases_without_errors()))
def test_what_the_grammar_allows_passes(usable, text):
    assert complaints(usable, text) == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_pass_strictly(strict, path):
    assert complaints(strict, path.read_text()) == []


def test_the_fine_document_passes(usable, strict):
    assert complaints(usable, FINE) == []
    assert complaints(strict, FINE) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("shared_memory:", "shared_memories:"),
        ("name: raw, ", ""),
        ("name: raw", "name: ' '"),
        ("name: raw", "name: 3"),
        ("shape: [4]", "shape: []"),
        ("shape: [4]", "shape: 4"),
        ("shape: [4]", "shape: [0]"),
        ("shape: [4]", "shape: [2.5]"),
        ("shape: [4]", "shape: [true]"),
        ("float32", "float23"),
        ("float32", "float32, storage: disk"),
        ("float32", "float32, storage: gpu"),
        ("float32", 'float32, gpu_device: "cuda:0"'),
        ("float32", "float32, notify: 'false'"),
        ("float32", "float32, mode: attatch"),
        ("float32", "float32, slots: 1"),
        ("float32", "float32, slots: 128"),
        ("float32", "float32, initial: {pattern: constant}"),
        ("float32", "float32, initial: {pattern: constant, value: 1, seed: 2}"),
        ("float32", "float32, initial: {pattern: zeros}"),
        ("kind: cpu.scale, ", ""),
        ("input: raw", "input: raw, inputs: [raw]"),
        ("input: raw, ", ""),
        ("input: raw", "inputs: []"),
        ("input: raw", "inputs: raw"),
        ("output: out", "output: out, outpt: x"),
        ("parameters: {factor: 2.0}", "parameters: null"),
        ("parameters: {factor: 2.0}", "parameters: [factor]"),
        ("output: out", "output: out, read_timeout: 0"),
        ("output: out", "output: out, read_timeout: true"),
        ("output: out", "output: out, trigger_policy: some"),
        ("output: out", "output: out, propagate_frame_id: 1"),
        ("output: out", "output: out, synchronization: null"),
        ("output: out", "output: out, synchronization: {mode: exact}"),
        ("output: out", "output: out, synchronization: {max_skew_generations: 0}"),
        ("output: out", "output: out, wait: sleep"),
        ("output: out", "output: out, deadline: -1"),
        ("output: out", "output: out, process: own"),
        ("output: out", "output: out, placement: 3"),
        ("output: out", "output: out, placement: {cpus: []}"),
        ("output: out", "output: out, placement: {cpus: -1}"),
        ("output: out", "output: out, placement: {priority: 100}"),
        ("output: out", "output: out, restart: sometimes"),
        ("output: out", "output: out, restart: {limit: 3}"),
        ("output: out", "output: out, restart: {policy: always, backoff: 3}"),
        ("sources: []", "sources: null"),
        ("sources: []", "namespace: a/b"),
        ("sources: []", "placement: {policy: random}"),
        ("kernels:", "kernels: []\nsinks: []\nnothing:"),
    ],
)
def test_what_is_wrong_is_refused(usable, old, new):
    text = FINE.replace(old, new, 1)
    assert text != FINE
    assert complaints(usable, text)


def test_there_must_be_a_node(usable):
    assert complaints(usable, "shared_memory: [{name: a, shape: [1]}]\nkernels: []\n")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (", dtype: float32", ""),
        ("shape: [4]", 'shape: ["4"]'),
        ("output: out", 'output: out, read_timeout: "0.5"'),
        ("factor: 2.0", "factor: 2.0, facto: 3"),
    ],
)
def test_what_gives_a_warning_passes_but_not_strictly(usable, strict, old, new):
    text = FINE.replace(old, new, 1)
    assert complaints(usable, text) == []
    assert complaints(strict, text)


def test_kinds_and_parameters_are_offered(usable):
    kernels = usable.schema["$defs"]["kernels"]
    assert "cpu.scale" in kernels["properties"]["kind"]["anyOf"][0]["enum"]
    rules = [rule for rule in kernels["allOf"] if "if" in rule]
    scale = next(r for r in rules if r["if"]["properties"]["kind"]["const"] == "cpu.scale")
    assert "factor" in scale["then"]["properties"]["parameters"]["properties"]
