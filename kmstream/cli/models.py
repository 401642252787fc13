"""The commands about model versions."""

from typing import Annotated

import typer

from kmstream.cli.options import Options, begin, takes_options

models_app = typer.Typer(help="Look at model versions, promote one, or roll back.", no_args_is_help=True)
models_app.callback()(begin)

VersionArgument = Annotated[str, typer.Argument(metavar="V", help="A version, like v000003.")]


@models_app.command("list")
@takes_options
def list_models(options: Options) -> None:
    """List every version, held ones too."""
    from kmstream.cli.show_models import show_versions
    from kmstream.versions import list_versions

    config = options.load_config()
    found = list_versions(config)
    content = {"name": config.name, "versions": found}
    options.answer(content, lambda console: show_versions(console, found, config, options), asked=True)


@models_app.command("show")
@takes_options
def show_model(options: Options, version: VersionArgument) -> None:
    """Show a version: segments, gate, passes, parameters, origin."""
    from kmstream.cli.show_models import show_version
    from kmstream.versions import describe_version

    found = describe_version(options.load_config(), version)
    options.answer(found, lambda console: show_version(console, found), asked=True)


@models_app.command("diff")
@takes_options
def diff_models(
    options: Options,
    a: Annotated[str, typer.Argument(metavar="A", help="A version.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another, usually a later one.")],
) -> None:
    """Set two versions side by side, segment by segment."""
    from kmstream.cli.show_models import show_diff
    from kmstream.versions import diff_versions

    found = diff_versions(options.load_config(), a, b)
    options.answer(found, lambda console: show_diff(console, found), asked=True)


@models_app.command("promote")
@takes_options
def promote_model(options: Options, version: VersionArgument) -> None:
    """Make a version the current one.

    A held one that you have looked at, or an older one.
    """
    from kmstream.cli.show_models import show_move
    from kmstream.versions import promote

    done = promote(options.load_config(), version)
    options.answer(done, lambda console: show_move(console, done))


@models_app.command("rollback")
@takes_options
def roll_back_model(options: Options) -> None:
    """Make the version before the current one current again."""
    from kmstream.cli.show_models import show_move
    from kmstream.versions import rollback

    done = rollback(options.load_config())
    options.answer(done, lambda console: show_move(console, done))
