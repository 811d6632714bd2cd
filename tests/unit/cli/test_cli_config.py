"""The worker's TOML file is checked completely before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from rainzmq.cli.config import read_config
from rainzmq.common.errors import RainException


def _write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "worker.toml"
    path.write_text(text)
    return path


def test_without_a_file_nothing_is_configured() -> None:
    assert read_config(None) == {}


def test_subworkers_have_a_command_as_string_or_list(tmp_path: Path) -> None:
    path = _write(
        tmp_path,
        '[subworkers.mine]\ncommand = "prog -x"\n[subworkers."c++"]\n'.replace('"c++"', "cpp")
        + 'command = ["prog", "a b"]\n',
    )

    assert read_config(path) == {
        "subworkers": {"mine": {"command": "prog -x"}, "cpp": {"command": ["prog", "a b"]}}
    }


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[subworkers.x]\ncommand = \n", r"not valid TOML: .*line 2"),
        ('[subworker.x]\ncommand = "a"\n', "unknown key 'subworker' at the top; known: subworkers"),
        (
            '[subworkers.x]\ncommand = "a"\ncmd = "b"',
            r"unknown key 'cmd' in \[subworkers.x\]; known: command",
        ),
        ("pin = true", "pin must be 'auto' or 'none', not True"),
        ("subworkers = 3", "must be a table"),
        ("[subworkers]\nx = 'prog'", "subworkers.x must be a table"),
        ("[subworkers.x]", "subworkers.x has no command"),
        ("[subworkers.x]\ncommand = 3", "string or a list of strings"),
        ("[subworkers.x]\ncommand = []", "string or a list of strings"),
        ("[subworkers.x]\ncommand = ['a', 3]", "string or a list of strings"),
        ("[subworkers.x]\ncommand = '  '", "command is empty"),
        ("[subworkers.python]\ncommand = 'a'", "rainzmq's own"),
        ("[subworkers.builtin]\ncommand = 'a'", "rainzmq's own"),
        ("[subworkers.'a/b']\ncommand = 'a'", "cannot name a subworker"),
    ],
)
def test_bad_file_gets_an_error_that_names_the_place(tmp_path: Path, text: str, why: str) -> None:
    path = _write(tmp_path, text)

    with pytest.raises(RainException, match=why) as caught:
        read_config(path)
    assert str(path) in str(caught.value)


def test_missing_file_and_binary_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(RainException, match=r"cannot read the configuration .*No such file"):
        read_config(tmp_path / "none.toml")
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(RainException, match="UTF-8"):
        read_config(path)
