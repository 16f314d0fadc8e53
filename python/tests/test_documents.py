"""Documents that programs edit, and what is left of them on the way to a configuration and back."""

import logging

import pytest

from thalweg import PipelineConfig
from thalweg.document import (
    clone_document,
    config_to_document,
    default_document,
    document_to_yaml,
    load_document,
    normalize_document,
    parse_inline_yaml,
    save_document,
)
from thalweg.errors import ConfigValidationError
from thalweg.logging_utils import ColorFormatter, configure_colored_logging, get_logger

pytestmark = pytest.mark.cpu

EVERYTHING = {
    "namespace": "lab",
    "shared_memory": [
        {"name": "a", "shape": [4], "dtype": "float32", "slots": 6, "mode": "replace"},
        {
            "name": "b",
            "shape": [4],
            "dtype": "float32",
            "initial": {"pattern": "constant", "value": 2},
        },
        {"name": "c", "shape": [4], "dtype": "float32"},
    ],
    "sources": [
        {
            "name": "s",
            "kind": "synthetic.array",
            "stream": "a",
            "poll_interval": 0.5,
            "read_timeout": 3.0,
            "process": "own",
        }
    ],
    "kernels": [
        {
            "name": "k",
            "kind": "cpu.copy",
            "input": "a",
            "output": "c",
            "poll_interval": 0.25,
            "trigger_policy": "all_new",
            "read_timeout": 0.5,
            "pause_sleep": 0.125,
            "propagate_frame_id": True,
            "deadline": 0.01,
            "restart": "on-failure",
            "wait": "park",
            "placement": {"cpus": [0]},
        }
    ],
    "sinks": [
        {
            "name": "end",
            "kind": "null.sink",
            "stream": "c",
            "consume_timeout": 4.0,
            "parameters": {"sample_window": 16},
        }
    ],
}


def test_w20_nothing_is_lost_on_the_way_through_a_configuration(tmp_path):
    config = PipelineConfig.from_dict(EVERYTHING)
    document = config_to_document(config)
    for section in ("sources", "kernels", "sinks"):
        for entry, original in zip(document[section], EVERYTHING[section], strict=True):
            assert original.items() <= entry.items()
    assert document["namespace"] == "lab"
    save_document(tmp_path / "saved.yaml", document)
    assert PipelineConfig.from_yaml(tmp_path / "saved.yaml") == config
    assert load_document(tmp_path / "saved.yaml") == document
    assert [path.name for path in tmp_path.iterdir()] == ["saved.yaml"]


def test_empty_documents(tmp_path):
    assert default_document() == {"shared_memory": [], "sources": [], "kernels": [], "sinks": []}
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing\n")
    assert load_document(path) == default_document()
    assert normalize_document({"kernels": [1]})["kernels"] == [1]
    with pytest.raises(ConfigValidationError) as failure:
        PipelineConfig.from_dict(default_document())
    assert str(failure.value) == "pipeline config must define a non-empty shared_memory list"


def test_copies_share_nothing():
    document = normalize_document(EVERYTHING)
    copy = clone_document(document)
    copy["kernels"][0]["name"] = "other"
    assert document["kernels"][0]["name"] == "k" == EVERYTHING["kernels"][0]["name"]


@pytest.mark.parametrize("content", ["- 1\n- 2\n", "text\n", "a: [\n", "a: 1\na: 2\n"])
def test_what_is_no_document(tmp_path, content):
    path = tmp_path / "wrong.yaml"
    path.write_text(content)
    with pytest.raises(ConfigValidationError, match=r"wrong\.yaml"):
        load_document(path)
    with pytest.raises(FileNotFoundError):
        load_document(tmp_path / "absent.yaml")


def test_pieces_of_yaml():
    fallback = {"x": [1]}
    assert parse_inline_yaml("{a: 1, b: [2, 3]}", fallback) == {"a": 1, "b": [2, 3]}
    assert parse_inline_yaml("  ", fallback) == fallback
    assert parse_inline_yaml("", fallback)["x"] is not fallback["x"]
    assert parse_inline_yaml("3", None) == 3
    with pytest.raises(ConfigValidationError):
        parse_inline_yaml("{a: ", fallback)


def test_yaml_is_what_it_was_made_of():
    text = document_to_yaml({"shared_memory": [{"name": "on", "shape": [1, 2]}], "weiß": "ü: y"})
    assert parse_inline_yaml(text, None) == {
        "shared_memory": [{"name": "on", "shape": [1, 2]}],
        "weiß": "ü: y",
        "sources": [],
        "kernels": [],
        "sinks": [],
    }


def test_logging_helpers(capsys):
    formatter = ColorFormatter("%(levelname)s %(message)s")
    record = logging.LogRecord("x", logging.ERROR, "file", 1, "text", (), None)
    assert formatter.format(record) == "\033[31mERROR\033[0m text"
    assert record.levelname == "ERROR"
    assert ColorFormatter("%(levelname)s", use_color=False).format(record) == "ERROR"
    assert get_logger("pipelines").name == "thalweg.pipelines"
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    try:
        configure_colored_logging(level=logging.WARNING)
        get_logger("pipelines").warning("seen")
        get_logger("pipelines").info("not seen")
    finally:
        root.handlers[:], root.level = before
    printed = capsys.readouterr()
    assert printed.out == "" and "thalweg.pipelines | seen" in printed.err
