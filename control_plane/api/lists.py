"""Lists as the API answers them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Generic, TypeVar

from fastapi import Depends, Query
from pydantic import BaseModel

from control_plane.store.repositories.listings import Listing, Page

Shown = TypeVar("Shown", bound=BaseModel)
Row = TypeVar("Row")


class ListOf(BaseModel, Generic[Shown]):
    data: list[Shown]
    next_cursor: str | None
    """For `cursor` of the next request; null at the end."""


async def _page(
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(pattern=r"^[a-z0-9-]{1,64}$")] = None,
) -> Page:
    return Page(limit, cursor)


CurrentPage = Annotated[Page, Depends(_page)]


def show_list(listing: Listing[Row], show: Callable[[Row], Shown]) -> ListOf[Shown]:
    return ListOf(data=[show(row) for row in listing.rows], next_cursor=listing.next_cursor)
