"""Configurations as plain documents that programs edit: mappings, lists, texts and numbers."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeAlias

from thalweg import _json, _native
from thalweg.config import PipelineConfig
from thalweg.errors import ConfigValidationError

__all__ = [
    "Document",
    "clone_document",
    "config_to_document",
    "default_document",
    "document_to_yaml",
    "load_document",
    "normalize_document",
    "parse_inline_yaml",
    "save_document",
]

Document: TypeAlias = dict[str, Any]

_SECTIONS = ("shared_memory", "sources", "kernels", "sinks")


def default_document() -> Document:
    """A document without anything in it."""
    return {section: [] for section in _SECTIONS}


def clone_document(document: Mapping[str, Any]) -> Document:
    """A copy that shares nothing with `document`."""
    return deepcopy(dict(document))


def normalize_document(document: Mapping[str, Any]) -> Document:
    """A copy that has every section; the order of the others is kept."""
    copy = clone_document(document)
    for section in _SECTIONS:
        copy.setdefault(section, [])
    return copy


def load_document(path: str | os.PathLike[str]) -> Document:
    """Read a YAML file as a document, without checking what it means. Empty files are welcome.

    Raises:
        OSError: the file cannot be read.
        ConfigValidationError: it is no YAML, or no mapping.
    """
    file = Path(path)
    try:
        raw = _from_yaml(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, ConfigValidationError) as problem:
        raise ConfigValidationError(f"{file}: {problem}") from problem
    if raw is None:
        return default_document()
    if not isinstance(raw, dict):
        raise ConfigValidationError(f"{file}: pipeline config must be a mapping, found {raw!r}")
    return normalize_document(raw)


def document_to_yaml(document: Mapping[str, Any]) -> str:
    """A document as YAML text."""
    return _native.json_to_yaml(_json.dumps(normalize_document(document)))


def save_document(path: str | os.PathLike[str], document: Mapping[str, Any]) -> None:
    """Write a document to a YAML file, whole or not at all."""
    text = document_to_yaml(document)
    target = Path(path)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def parse_inline_yaml(text: str, fallback: Any) -> Any:
    """The value of a piece of YAML; a copy of `fallback` if there is none.

    Raises:
        ConfigValidationError: it is no YAML.
    """
    value = _from_yaml(text.strip())
    return deepcopy(fallback) if value is None else value


def config_to_document(config: PipelineConfig) -> Document:
    """The document a configuration could have been read from. Nothing is lost; what has its default
    value is left out."""
    return normalize_document(config.to_dict())


def _from_yaml(text: str) -> Any:
    return json.loads(_native.yaml_to_json(text))
