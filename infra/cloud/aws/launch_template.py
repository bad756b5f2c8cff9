"""The launch template of workers: named by a setting, found by tag, or made."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from infra.cloud.aws.access import AwsAccess
from infra.cloud.aws.tags import OWNER_TAG, tags_as_list, with_tag
from infra.cloud.refusals import Malformed, Refusal
from infra.settings import Settings

_NAME_TAKEN = "InvalidLaunchTemplateName.AlreadyExistsException"


@dataclass(frozen=True, slots=True)
class LaunchTemplate:
    id: str
    version: str
    """A number: a launch that is repeated must ask for the same one."""
    user_data: str
    """Base64; may be empty."""


def open_template(access: AwsAccess, settings: Settings) -> LaunchTemplate:
    """The default version of the template.

    Raises:
        Malformed: there is none and no image to make one of, or it allows IMDSv1.
        Refusal: AWS refused.
    """
    id = _named(access, settings) or _tagged(access, settings) or _make(access, settings)
    answer = access.call(
        "ec2", "describe_launch_template_versions", LaunchTemplateId=id, Versions=["$Default"]
    )
    versions = answer.get("LaunchTemplateVersions", [])
    if not versions:
        raise Malformed(f"launch template {id} has no default version")
    data = versions[0].get("LaunchTemplateData", {})
    if data.get("MetadataOptions", {}).get("HttpTokens") != "required":
        raise Malformed(
            f"launch template {id} lets anybody on the machine read its metadata: "
            "set MetadataOptions.HttpTokens to required (IMDSv2)"
        )
    return LaunchTemplate(id, str(versions[0]["VersionNumber"]), data.get("UserData", ""))


def _named(access: AwsAccess, settings: Settings) -> str:
    name = settings.aws_launch_template
    if not name or name.startswith("lt-"):
        return name
    return _by_name(access, name)


def _by_name(access: AwsAccess, name: str) -> str:
    answer = access.call("ec2", "describe_launch_templates", LaunchTemplateNames=[name])
    return _only(answer, f"named {name}")


def _tagged(access: AwsAccess, settings: Settings) -> str:
    ours = [with_tag(OWNER_TAG, settings.aws_owner)]
    answer = access.call("ec2", "describe_launch_templates", Filters=ours)
    if not answer.get("LaunchTemplates"):
        return ""
    return _only(answer, f"tagged {OWNER_TAG}={settings.aws_owner}")


def _only(answer: dict[str, Any], which: str) -> str:
    found = answer.get("LaunchTemplates", [])
    if len(found) != 1:
        raise Malformed(f"{len(found)} launch templates {which}: set TAMER_AWS_LAUNCH_TEMPLATE")
    return str(found[0]["LaunchTemplateId"])


def _make(access: AwsAccess, settings: Settings) -> str:
    if not settings.aws_image:
        raise Malformed(
            "no launch template: set TAMER_AWS_LAUNCH_TEMPLATE, or TAMER_AWS_IMAGE to make one"
        )
    tags = tags_as_list({OWNER_TAG: settings.aws_owner})
    data: dict[str, Any] = {
        "ImageId": settings.aws_image,
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
        return _by_name(access, name)  # somebody made it meanwhile
    return str(answer["LaunchTemplate"]["LaunchTemplateId"])
