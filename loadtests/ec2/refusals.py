"""What EC2 refuses and moto accepts, each in EC2's own words."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from loadtests.ec2 import form as forms
from loadtests.ec2.moto import Moto, MotoRefused

USER_DATA = (
    "LaunchTemplateConfigs.1.LaunchTemplateSpecification.LaunchTemplateSpecificationUserData"
)
_SPECIFICATION = "LaunchTemplateConfigs.1.LaunchTemplateSpecification."
_DATA = ".//{*}launchTemplateVersionSet/{*}item/{*}launchTemplateData"
_TAGGED = frozenset({"fleet", "instance", "volume", "network-interface"})
"""What a fleet of type `instant` may tag."""
_SPOT_REQUEST = "spot-instances-request"
_TOKEN_LENGTH = 64
_USER_DATA_BYTES = 16 << 10
_OVERRIDES = 300

Refused = tuple[str, str]
"""Code and message."""
NO_VERSION: Refused = (
    "InvalidLaunchTemplateId.VersionNotFound",
    "Could not find the specified version for the launch template.",
)


NO_TEMPLATE: Refused = (
    "InvalidLaunchTemplateId.NotFound",
    "The specified launch template does not exist.",
)
_NO_TEMPLATE_NAME: Refused = (
    "InvalidLaunchTemplateName.NotFoundException",
    "At least one of the launch templates specified in the request does not exist.",
)


@dataclass(frozen=True, slots=True)
class Template:
    """Of a launch template, what moto does not act upon."""

    tags: frozenset[str] = frozenset()
    """Types of what it tags."""
    protected: bool = False
    ends_at_shutdown: bool = False


def template_of(moto: Moto, form: Mapping[str, str]) -> Template | None:
    """The version that a CreateFleet names; None: there is none, as moto will say."""
    named = {
        "LaunchTemplateId": form.get(_SPECIFICATION + "LaunchTemplateId", ""),
        "LaunchTemplateName": form.get(_SPECIFICATION + "LaunchTemplateName", ""),
        "LaunchTemplateVersion.1": form.get(_SPECIFICATION + "Version", ""),
    }
    try:
        told = moto.ec2("DescribeLaunchTemplateVersions", {k: v for k, v in named.items() if v})
    except MotoRefused:
        return None
    data = told.find(_DATA)
    if data is None:
        return None
    tagged = data.findall("{*}tagSpecificationSet/{*}item/{*}resourceType")
    return Template(
        tags=frozenset(each.text or "" for each in tagged),
        protected=data.findtext("{*}disableApiTermination") == "true",
        ends_at_shutdown=data.findtext("{*}instanceInitiatedShutdownBehavior") == "terminate",
    )


def of_hidden_template(form: Mapping[str, str]) -> Refused | None:
    """What whoever asks for one by its name or id is told; None: a listing, which is empty."""
    if form["Action"] != "DescribeLaunchTemplates":
        return NO_TEMPLATE
    return _NO_TEMPLATE_NAME if forms.listed(form, "LaunchTemplateName") else None


def of_fleet(form: Mapping[str, str], pools: Sequence[tuple[str, str]]) -> Refused | None:
    """Why a CreateFleet is none.

    Args:
        pools: type and zone of each override.
    """
    if not form.get(_SPECIFICATION + "Version"):
        return "MissingParameter", "The request must contain the parameter Version"
    if len(form.get("ClientToken", "")) > _TOKEN_LENGTH:
        return "InvalidParameterValue", "The client token is longer than 64 characters."
    tagged = {
        value
        for name, value in form.items()
        if name.startswith("TagSpecification.") and name.endswith(".ResourceType")
    }
    if not tagged <= _TAGGED:
        return "InvalidParameterValue", f"An instant fleet does not tag {sorted(tagged - _TAGGED)}."
    if len(set(pools)) < len(pools):
        message = "The fleet configuration contains duplicate instance pools."
        return "InvalidFleetConfig", message
    if len(pools) > _OVERRIDES and form.get("Type") != "instant":
        return "InvalidFleetConfig", f"A fleet takes {_OVERRIDES} overrides."
    return _of_user_data(form.get(USER_DATA, ""))


def of_launch(template: Template, market: str) -> Refused | None:
    """Why no pool of this market gives a machine, however much of them there is."""
    if market == "on-demand" and _SPOT_REQUEST in template.tags:
        return (
            "InvalidParameterValue",
            "You cannot specify tags for Spot instances requests if there are no Spot instances "
            "requests being created by the request.",
        )
    return None


def of_termination(moto: Moto, cloud_ids: Sequence[str]) -> tuple[list[str], Refused | None]:
    """Those that a TerminateInstances ends, and what it says of the others: where one is unknown,
    none is ended, and where one is protected, none of its zone."""
    try:
        told = moto.ec2("DescribeInstances", forms.numbered("InstanceId", cloud_ids))
    except MotoRefused:
        return [], unknown(cloud_ids)
    zones = {
        item.findtext("{*}instanceId") or "": item.findtext("{*}placement/{*}availabilityZone")
        for item in told.findall(".//{*}instancesSet/{*}item")
    }
    kept = [id for id in cloud_ids if _attribute(moto, id, "disableApiTermination") == "true"]
    if not kept:
        return list(cloud_ids), None
    closed = {zones[id] for id in kept}
    message = (
        f"The instance '{kept[0]}' may not be terminated. Modify its 'disableApiTermination' "
        "instance attribute and try again."
    )
    return [id for id in cloud_ids if zones[id] not in closed], ("OperationNotPermitted", message)


def unknown(cloud_ids: Sequence[str]) -> Refused:
    if len(cloud_ids) == 1:
        return "InvalidInstanceID.NotFound", f"The instance ID '{cloud_ids[0]}' does not exist"
    said = ", ".join(cloud_ids)
    return "InvalidInstanceID.NotFound", f"The instance IDs '{said}' do not exist"


def ends_at_shutdown(moto: Moto, cloud_id: str) -> bool:
    """Raises MotoRefused."""
    return _attribute(moto, cloud_id, "instanceInitiatedShutdownBehavior") == "terminate"


def runs(moto: Moto, cloud_id: str) -> bool:
    """Raises MotoRefused."""
    told = moto.ec2("DescribeInstances", {"InstanceId.1": cloud_id})
    return told.findtext(".//{*}instanceState/{*}name") in ("pending", "running")


def _attribute(moto: Moto, cloud_id: str, name: str) -> str:
    asked = {"InstanceId": cloud_id, "Attribute": name}
    told: ElementTree.Element = moto.ec2("DescribeInstanceAttribute", asked)
    return (told.findtext(f"{{*}}{name}/{{*}}value") or "").lower()


def _of_user_data(user_data_base64: str) -> Refused | None:
    try:
        raw = base64.b64decode(user_data_base64, validate=True)
    except binascii.Error:
        return "InvalidUserData.Malformed", "Invalid BASE64 encoding of user data."
    if len(raw) > _USER_DATA_BYTES:
        return "InvalidParameterValue", "User data is limited to 16384 bytes"
    return None
