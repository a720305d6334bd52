"""The verb that teaches a shell to complete our words: completion. And what the others need for that."""

from __future__ import annotations

from pathlib import Path

import click

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
    """The ids of jobs that begin so. A state that cannot be read has none: a shell is no place for errors."""
    from runner.errors import RunnerError
    from runner.views.reading import open_state

    words = ctx.find_root().params
    root = Path(words.get("root") or ".").absolute()
    try:
        with open_state(root / (words.get("state") or "state"), root) as store:
            found = sorted(id for id in store.scan() if id.startswith(incomplete))
    except (RunnerError, OSError):
        return []
    return found[:_MOST]
