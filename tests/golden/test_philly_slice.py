# SPDX-License-Identifier: Apache-2.0
"""The published numbers of a real trace: 1,206 jobs of Microsoft Philly on 27 nodes of 8 GPUs in six static partitions.

Other simulators were measured on this slice; the means over all jobs are theirs, those by tenant are this project's
brute-force oracle's (tests/simulation/oracle.py), which gives the same means over all jobs. The trace is not part of
the project: where it is absent, these tests are skipped.
"""

from pathlib import Path

import pytest

from leitstand.twin.replay import Setting, replay

TRACES = Path(__file__).parents[3] / "shared" / "traces"
TRACE = TRACES / "philly_peer_slice_1206.parquet"
CLUSTER = TRACES / "philly_peer_slice_1206.cluster.json"

pytestmark = pytest.mark.skipif(
    not (TRACE.exists() and CLUSTER.exists()), reason="trace philly_peer_slice_1206 is absent"
)

# rules: (mean JCT, mean queue) in s, and by tenant (jobs, mean queue, mean JCT)
PUBLISHED = {"fifo-strict": (105_156.53, 69_723.69), "sjf": (68_651.81, 33_218.97)}
PER_TENANT = {
    "fifo-strict": {
        "103959": (229, 5_709.53, 13_378.07),
        "2869ce": (92, 336_347.33, 374_061.18),
        "6c71a0": (654, 69_048.57, 106_157.61),
        "7f04ca": (70, 27_958.07, 77_736.10),
        "b436b2": (12, 39_969.08, 65_999.25),
        "ee9e8c": (149, 28_462.25, 91_818.63),
    },
    "sjf": {
        "103959": (229, 2_369.59, 10_038.13),
        "2869ce": (92, 128_320.14, 166_034.00),
        "6c71a0": (654, 35_593.89, 72_702.93),
        "7f04ca": (70, 24_172.04, 73_950.07),
        "b436b2": (12, 39_969.08, 65_999.25),
        "ee9e8c": (149, 15_194.01, 78_550.39),
    },
}


@pytest.mark.parametrize("rules", PUBLISHED)
def test_philly_slice_gives_the_published_means(rules: str) -> None:
    outcome = replay(Setting(TRACE, CLUSTER, rules, static=True))
    jct, queue = PUBLISHED[rules]
    assert (outcome.jobs, outcome.left_out, outcome.rejected, outcome.dropped) == (1206, 0, 0, 0)
    assert outcome.jct_s.mean == pytest.approx(jct, abs=0.01)
    assert outcome.queue_s.mean == pytest.approx(queue, abs=0.01)
    assert set(outcome.per_tenant) == set(PER_TENANT[rules])
    for tenant, (jobs, queue, jct) in PER_TENANT[rules].items():
        found = outcome.per_tenant[tenant]
        assert found.jobs == jobs, tenant
        assert found.queue_s.mean == pytest.approx(queue, abs=0.01), tenant
        assert found.jct_s.mean == pytest.approx(jct, abs=0.01), tenant
