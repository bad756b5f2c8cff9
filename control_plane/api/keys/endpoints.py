from __future__ import annotations

from fastapi import APIRouter

from control_plane.api.keys import service
from control_plane.api.keys.schemas import KeyShown, KeyWanted, NewKey, show_key
from control_plane.api.lists import CurrentPage, ListOf, show_list
from control_plane.api.transaction import CurrentChange, Reading
from control_plane.store.repositories import listings

router = APIRouter(prefix="/keys", tags=["keys"])


@router.post("", status_code=201)
async def create_key(wanted: KeyWanted, change: CurrentChange) -> NewKey:
    key, secret = await service.create(change, wanted)
    return NewKey(**show_key(key).model_dump(), secret=secret)


@router.get("")
async def list_keys(session: Reading, page: CurrentPage) -> ListOf[KeyShown]:
    return show_list(await listings.keys(session, page), show_key)


@router.delete("/{key_id}")
async def revoke_key(key_id: str, change: CurrentChange) -> KeyShown:
    return show_key(await service.revoke(change, key_id))
