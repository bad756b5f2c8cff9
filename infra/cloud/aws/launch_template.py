"""The launch template of workers: named by a setting, found by tag, or made."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from infra.cloud.aws.access import AwsAccess
from infra.cloud.aws.tags import OWNER_TAG, tags_as_list, with_tag
from infra.cloud.refusals import CloudAway, Malformed, Refusal
from infra.settings import Settings

_NAME_TAKEN = "InvalidLaunchTemplateName.AlreadyExistsException"
_NOT_FOUND = ("InvalidLaunchTemplateName.NotFoundException", "InvalidLaunchTemplateId.NotFound")


@dataclass(frozen=True, slots=True)
class LaunchTemplate:
    id: str
    version: str
    """A number: a launch that is repeated must ask for the same one."""
    user_data: str
    """Base64; may be empty."""
    tags_spot_requests: bool = False
    """Then EC2 launches no machine on demand from it."""


def open_template(access: AwsAccess, settings: Settings) -> LaunchTemplate:
    """The default version of the template.

    Raises:
        Malformed: there is none and no image to make one of, it allows IMDSv1, or nobody could end
            its machines.
        Refusal: AWS refused.
    """
    id = _named(access, settings) or _tagged(access, settings)
    return _read(access, id) if id else _make(access, settings)


def _read(access: AwsAccess, id: str) -> LaunchTemplate:
    versions = access.pages(
        "ec2",
        "describe_launch_template_versions",
        "LaunchTemplateVersions",
        LaunchTemplateId=id,
        Versions=["$Default"],
    )
    if not versions:
        raise Malformed(f"launch template {id} has no default version")
    data = versions[0].get("LaunchTemplateData", {})
    if data.get("MetadataOptions", {}).get("HttpTokens") != "required":
        raise Malformed(
            f"launch template {id} lets anybody on the machine read its metadata: "
            "set MetadataOptions.HttpTokens to required (IMDSv2)"
        )
    if data.get("DisableApiTermination"):
        raise Malformed(
            f"launch template {id} protects its machines from being ended: "
            "set DisableApiTermination to false"
        )
    tagged = {each.get("ResourceType") for each in data.get("TagSpecifications", [])}
    return LaunchTemplate(
        id,
        str(versions[0]["VersionNumber"]),
        data.get("UserData", ""),
        "spot-instances-request" in tagged,
    )


def _named(access: AwsAccess, settings: Settings) -> str:
    name = settings.aws_launch_template
    if not name or name.startswith("lt-"):
        return name
    return _by_name(access, name)


def _by_name(access: AwsAccess, name: str) -> str:
    found = _all(access, LaunchTemplateNames=[name])
    return _only(found, f"named {name}")


def _tagged(access: AwsAccess, settings: Settings) -> str:
    ours = [with_tag(OWNER_TAG, settings.aws_owner)]
    found = _all(access, Filters=ours)
    return _only(found, f"tagged {OWNER_TAG}={settings.aws_owner}") if found else ""


def _all(access: AwsAccess, **which: Any) -> list[dict[str, Any]]:
    return access.pages("ec2", "describe_launch_templates", "LaunchTemplates", **which)


def _only(found: list[dict[str, Any]], which: str) -> str:
    if len(found) != 1:
        raise Malformed(f"{len(found)} launch templates {which}: set TAMER_AWS_LAUNCH_TEMPLATE")
    return str(found[0]["LaunchTemplateId"])


def _make(access: AwsAccess, settings: Settings) -> LaunchTemplate:
    """It is not read back: what EC2 has just made it need not tell yet."""
    if not settings.aws_image:
        raise Malformed(
            "no launch template: set TAMER_AWS_LAUNCH_TEMPLATE, or TAMER_AWS_IMAGE to make one"
        )
    tags = tags_as_list({OWNER_TAG: settings.aws_owner})
    data: dict[str, Any] = {
        "ImageId": settings.aws_image,
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        "TagSpecifications": [
            {"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume")
        ],
    }
    groups = [each.strip() for each in settings.aws_security_groups.split(",") if each.strip()]
    if groups:
        data["SecurityGroupIds"] = groups
    if settings.aws_instance_profile:
        data["IamInstanceProfile"] = {"Arn": settings.aws_instance_profile}
    name = "tamer-" + hashlib.sha256(settings.aws_owner.encode()).hexdigest()[:12]
    try:
        answer = access.call(
            "ec2",
            "create_launch_template",
            LaunchTemplateName=name,
            LaunchTemplateData=data,
            TagSpecifications=[{"ResourceType": "launch-template", "Tags": tags}],
        )
    except Refusal as refusal:
        if refusal.code != _NAME_TAKEN:
            raise
        return _made_by_another(access, name)
    made = answer["LaunchTemplate"]
    return LaunchTemplate(made["LaunchTemplateId"], str(made["DefaultVersionNumber"]), "")


def _made_by_another(access: AwsAccess, name: str) -> LaunchTemplate:
    try:
        return _read(access, _by_name(access, name))
    except Refusal as refusal:
        if refusal.code not in _NOT_FOUND:
            raise
        raise CloudAway(f"EC2 does not tell yet of launch template {name}, which is there") from (
            refusal
        )
