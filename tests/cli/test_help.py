"""Help that a newcomer understands, with an example each that the command line itself can read."""

import shlex

import pytest

from robustly.cli.commands import EXAMPLES, NAMES, app


@pytest.mark.parametrize("name", NAMES.values())
def test_every_command_explains_itself_with_an_example(run, name):
    said = run(name, "--help")
    assert said.code == 0
    assert f"Usage: robustly {name}" in said.out
    assert f"  robustly {name} " in said.out.split("Examples:")[1]


@pytest.mark.parametrize("command", NAMES)
def test_the_examples_can_be_read_and_fit_a_terminal(command):
    for words in EXAMPLES[command]:
        found, _, _ = app.parse_args(
            [NAMES[command], *shlex.split(words.replace("\\\n", ""))], print_error=False, exit_on_error=False
        )
        assert found is command
        assert all(len(f"  robustly {NAMES[command]} {line}") <= 80 for line in words.splitlines())


def test_the_front_page_names_every_command_and_the_exit_codes(run):
    said = run("--help")
    assert said.code == 0
    assert all(name in said.out for name in NAMES.values())
    assert "143" in said.out


def test_the_version(run):
    from importlib import metadata

    assert run("--version").out.strip() == metadata.version("robustly")
