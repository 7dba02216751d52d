# SPDX-License-Identifier: Apache-2.0
"""A budget holds on a real control plane, however many submit at once."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from leitstand.client import Client, Refused
from tests.plane import Plane

pytestmark = pytest.mark.system

AT_ONCE = 16
SUBMISSIONS = 200


def test_parallel_submissions_are_admitted_as_far_as_the_budget_reaches(plane: Plane) -> None:
    operator = Client(plane.url, plane.token)
    operator.post("/v1/tenants", {"id": "lab"})
    operator.post("/v1/tenants/lab/budgets", {"gpu_hours": 12.5, "expires_in": "1d"})
    job = {"run": ["sleep", "600"], "resources": {"gpus": 1}, "max_duration": "1h", "tenant": "lab"}

    def submit(_: int) -> str:
        try:
            return str(Client(plane.url, plane.token).submit(job)["id"])
        except Refused as refused:
            return refused.code

    with ThreadPoolExecutor(AT_ONCE) as threads:
        answers = list(threads.map(submit, range(SUBMISSIONS)))
    admitted = [one for one in answers if one.startswith("lab-")]
    assert (len(admitted), answers.count("budget")) == (12, SUBMISSIONS - 12)
    (budget,) = operator.tenant("lab")["budgets"]
    hour_us = 3_600_000_000
    assert (budget["reserved"], budget["posted"], budget["available"]) == (12 * hour_us, 0, hour_us // 2)
    for one in admitted:
        operator.cancel(one)
