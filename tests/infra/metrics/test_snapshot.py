from __future__ import annotations

from infra.metrics.snapshot import SnapshotGauge
from tests.fixtures.metric_samples import value

_GAUGE = SnapshotGauge("test_things", "Things of a test.", ("owner", "state"))


def test_what_is_not_in_the_next_snapshot_is_gone() -> None:
    _GAUGE.replace({("a", "new"): 1, ("b", "old"): 2})
    _GAUGE.replace({("a", "old"): 3})
    [family] = _GAUGE.collect()
    assert [(each.labels, each.value) for each in family.samples] == [
        ({"owner": "a", "state": "old"}, 3)
    ]
    assert value("test_things", owner="a", state="old") == 3


def test_the_series_of_one_owner_change_and_the_others_stay() -> None:
    _GAUGE.replace({("a", "new"): 1, ("b", "old"): 2})
    _GAUGE.replace_of("a", {("a", "old"): 5})
    [family] = _GAUGE.collect()
    assert sorted(each.value for each in family.samples) == [2, 5]
    _GAUGE.keep_only({"b"})
    [family] = _GAUGE.collect()
    assert [each.labels["owner"] for each in family.samples] == ["b"]
