"""The tags by which instances are ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

OWNER_TAG = "tamer:owner"
INSTANCE_TAG = "tamer:instance"


def tags_as_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """As EC2 takes them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def tags_as_dict(tags: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """As EC2 tells them."""
    return {each["Key"]: each["Value"] for each in tags}


def with_tag(key: str, value: str) -> dict[str, object]:
    """A filter of EC2's."""
    return {"Name": f"tag:{key}", "Values": [value]}
