"""The verb that teaches a shell to complete our words: completion. And what the others need for that."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from runner.store.folders import FolderStore

SHELLS = ("bash", "zsh", "fish")
_MOST = 200  # ids that are offered: a person has to read them


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print what teaches a shell to complete verbs, flags and job ids. It works for the command `runner`.

    \b
    Examples:
      eval "$(runner completion bash)"                                 in ~/.bashrc
      eval "$(runner completion zsh)"                                  in ~/.zshrc
      runner completion fish > ~/.config/fish/completions/runner.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(click.get_current_context().find_root().command, {}, "runner", "_RUNNER_COMPLETE").source())


def job_ids(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The ids of jobs that begin so."""
    return _looked_up(ctx, lambda store: [id for id in store.scan() if id.startswith(incomplete)])


def task_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The classes of the jobs that there are, if they begin so."""
    return _looked_up(ctx, lambda store: {id[:-17] for id in store.scan() if id.startswith(incomplete)})


def run_ids(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The ids of runs that begin so."""
    from runner.store.runs import Runs

    return _looked_up(ctx, lambda store: [id for id in Runs(store).ids() if id.startswith(incomplete)])


def _looked_up(ctx: click.Context, look: Callable[[FolderStore], Iterable[str]]) -> list[str]:
    """A state that cannot be read has nothing: a shell is no place for errors."""
    from runner.errors import RunnerError
    from runner.views.reading import open_state

    words = ctx.find_root().params
    root = Path(words.get("root") or ".").expanduser().absolute()
    try:
        with open_state(root / (words.get("state") or "state"), root) as store:
            return sorted(look(store))[:_MOST]
    except (RunnerError, OSError):
        return []
