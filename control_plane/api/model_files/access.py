"""Who may read model files: a machine that joined, by its credential, what it must run."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from control_plane.api.access import Credentials, unauthorised
from control_plane.api.context import CurrentContext
from control_plane.api.problem import Problem
from control_plane.store.repositories import instances, machines
from infra.keys import hash_secret
from infra.storage.served import served_uri


async def _runner_of(digest: str, context: CurrentContext, credentials: Credentials) -> str:
    if credentials is None:
        raise unauthorised("no credential: agents send what their machine joined with")
    async with context.database.snapshot() as session:
        machine = await machines.of_credential(session, hash_secret(credentials.credentials))
        if machine is None:
            raise unauthorised("no machine of ours has this credential; join again")
        instance = await machines.present(session, machine.id)
        told = await instances.assignment(session, instance.id) if instance is not None else None
    wanted = [each.model_uri for each in told.replicas] if told is not None else []
    if served_uri(digest) not in wanted:
        raise Problem(403, "forbidden", "this machine reads the models that it must run, no others")
    return digest


RunDigest = Annotated[str, Depends(_runner_of)]
"""The digest in the path, once it is known that the caller must run that model."""
