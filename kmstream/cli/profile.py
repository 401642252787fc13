"""The command about what separates the segments."""

from typing import Annotated

import typer

from kmstream.cli.options import Options, takes_options


@takes_options
def profile(
    options: Options,
    version: Annotated[
        str | None, typer.Argument(metavar="V", help="A version, like v000003; the current one by default.")
    ] = None,
    *,
    features: Annotated[
        list[str] | None,
        typer.Option(
            "--feature", metavar="NAME", help="Only this feature, and every pair of segments in it; repeatable."
        ),
    ] = None,
) -> None:
    """Show what separates the segments, feature by feature."""
    from kmstream.cli.show_profile import show_profile
    from kmstream.versions import profile_version

    found = profile_version(options.load_config(), version, features=features or ())
    options.answer(found, lambda console: show_profile(console, found, with_pairs=bool(features)), asked=True)
