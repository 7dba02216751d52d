# SPDX-License-Identifier: Apache-2.0
"""Examples and limits for the description of the API (`schema`). A test submits every example of a body."""

from typing import Any, Final

_ID: Final = {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", "maxLength": 63}


def _one(value: Any) -> dict[str, Any]:
    return {"example": {"value": value}}


PARAMETERS: Final[dict[str, dict[str, Any]]] = {
    "job_id": {
        "description": "as acme-42",
        "schema": {"type": "string", "maxLength": 100},
        "example": "acme-42",
    },
    "sha256": {
        "description": "SHA-256 of the archive",
        "schema": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "example": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    },
    "commitment_id": {
        "description": "as c3",
        "schema": {"type": "string", "maxLength": 40},
        "example": "c3",
    },
    "tenant_id": {"description": "id of a tenant", "schema": _ID, "example": "acme"},
    "project": {"description": "name of a project", "schema": _ID, "example": "default"},
    "user_id": {
        "description": "as u7; `me` is yourself",
        "schema": {"type": "string", "maxLength": 40},
        "example": "u7",
    },
    "token_id": {"description": "as k12", "schema": {"type": "string", "maxLength": 40}, "example": "k12"},
    "application_id": {
        "description": "as a3",
        "schema": {"type": "string", "maxLength": 40},
        "example": "a3",
    },
    "invitation_id": {"description": "as i5", "schema": {"type": "string", "maxLength": 40}, "example": "i5"},
    "site_id": {"description": "name of a site", "schema": _ID, "example": "aachen"},
    "name": {
        "description": "name of a secret",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,63}$"},
        "example": "HF_TOKEN",
    },
    "limit": {"schema": {"minimum": 1, "maximum": 1000}},
    "cursor": {"schema": {"minimum": 0}},
    "after": {"schema": {"minimum": 0}},
    "offset": {"schema": {"minimum": 0, "maximum": 2**53}},
    "task": {"schema": {"minimum": 0, "maximum": 9999}},
}
HEADERS: Final[dict[str, dict[str, Any]]] = {
    "Idempotency-Key": {
        "description": "the same key with the same body gives the same thing for 24 hours",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
        "example": "2f1c8a52-4c1b-4a61-9f5e-6d0f3f0a9b11",
    },
    "If-Match": {
        "description": "what it is expected to be: an ETag, or what a plan calls `expected`, in quotes",
        "schema": {"type": "string", "maxLength": 1000},
    },
    "Last-Event-ID": {
        "description": "id of the last event that was seen",
        "schema": {"type": "string", "pattern": "^[0-9]{1,18}$"},
        "example": "4711",
    },
}

_JOB: Final = {
    "name": "train",
    "run": "python train.py --epochs 3",
    "resources": {"gpus": 8, "cpus": 16, "memory_gb": 64},
    "num_nodes": 2,
    "max_duration": "4h",
    "envs": {"BATCH": "64"},
    "checkpoint": {"path": "checkpoints", "every": "10m", "signal": "SIGUSR1", "grace": "2m"},
    "retry": {"max": 3, "on": ["lost"]},
}
_LEGAL: Final = {
    "name": "Beispiel GmbH",
    "street": "Werkstraße 1",
    "postcode": "10115",
    "city": "Berlin",
    "country": "DE",
    "size_class": "medium",
    "contacts": [{"role": "contract", "name": "Ada Lovelace", "email": "ada@example.org"}],
}
_PERSON: Final = {"id": "u7", "name": "Ada Lovelace"}

BODIES: Final[dict[str, dict[str, Any]]] = {
    "JobRequest": {
        "smallest": {"value": {"run": ["true"]}},
        "training": {"value": _JOB},
        "with secrets": {
            "value": {"run": ["python", "train.py"], "secret_values": {"WANDB_API_KEY": "for this job alone"}}
        },
    },
    "ApplicationRequest": _one(
        {
            "tenant": "beispiel",
            "class": "industry",
            "legal": _LEGAL,
            "applicant": {"name": "Ada Lovelace", "email": "ada@example.org"},
            "agreement": "2026-11",
            "purpose": "simulation of turbines",
        }
    ),
    "ClaimRequest": _one({"kind": "api", "expires_in": "30d"}),
    "CheckRequest": _one({"outcome": "passed", "note": "register entry seen"}),
    "RefusalRequest": _one({"reason": "incomplete", "note": "the register entry is missing"}),
    "TenantRequest": _one({"id": "beispiel", "class": "industry"}),
    "SuspendRequest": _one({"reason": "unpaid", "running": "finish"}),
    "ExitRequest": _one({"notice": "30d"}),
    "ExtendRequest": _one({"until": "2027-03-01T00:00:00Z", "whose": "customer"}),
    "LegalIdentity": _one(_LEGAL),
    "ProjectRequest": _one({"name": "turbines"}),
    "EntitlementRequest": {
        "two classes": {
            "value": {
                "entitlements": [
                    {"node": "industry", "guarantee": 2, "weight": 2},
                    {"node": "research", "guarantee": 1, "borrow": 4, "recall": "20m"},
                ],
                "dry_run": True,
            }
        },
        "scaled, from a date on": {
            "value": {
                "entitlements": [{"node": "startup", "guarantee": 8}],
                "from_at": "2027-03-01T00:00:00Z",
                "scale": True,
            }
        },
    },
    "ReportRequest": {
        "an Xid": {"value": {"kind": "xid", "code": 79, "gpu": 3, "at": "2026-03-01T08:00:00Z"}},
        "somebody says so": {"value": {"kind": "operator"}},
    },
    "ReturnRequest": {
        "after a burn-in": {"value": {"burn_in": True, "max_duration_s": 1800}},
        "at once": {"value": {"burn_in": False}},
    },
    "WindowRequest": {
        "a rack": {
            "value": {
                "domain": "muc/b1/r7",
                "from_at": "2027-03-01T22:00:00Z",
                "until_at": "2027-03-02T04:00:00Z",
                "reason": "hardware",
                "dry_run": True,
            }
        },
        "an emergency": {"value": {"nodes": ["n7"], "reason": "power", "emergency": True}},
    },
    "SiteRequest": {
        "a Slurm cluster of our own": {
            "value": {
                "name": "aachen",
                "engine": "slurm",
                "mode": "directed",
                "jurisdiction": "de",
                "operator": "RWTH Aachen",
                "slurm": {
                    "conf": "/etc/leitstand/aachen/slurm.conf",
                    "rest": "http://slurm.aachen.example.org:6820",
                    "token_file": "/etc/leitstand/aachen/token",
                    "folder": "/shared/leitstand",
                    "partition": "leitstand",
                },
                "expect": {"nodes": 128, "gpus": 1024},
            }
        }
    },
    "BookingRequest": {
        "course": {
            "summary": "A rack for a day, to see first whether it can be had",
            "value": {
                "resources": {"accelerators": ["H100:8"], "topology": {"required": "rack"}},
                "num_nodes": 16,
                "from_at": "2026-11-27T07:00:00Z",
                "until_at": "2026-11-27T19:00:00Z",
                "project": "training",
                "dry_run": True,
            },
        }
    },
    "CommitmentRequest": _one(
        {
            "node": "industry",
            "amount": 1,
            "from_at": "2027-03-01T00:00:00Z",
            "to_at": "2027-04-01T00:00:00Z",
            "price_eur": 1.9,
        }
    ),
    "CommitmentEnd": _one({"at": "2027-03-15T00:00:00Z"}),
    "BudgetRequest": _one({"gpu_hours": 1000, "expires_in": "90d", "origin": "grant"}),
    "UserRequest": _one({"name": "Ada Lovelace", "email": "ada@example.org"}),
    "RoleRequest": _one({"role": "member", "tenant": "acme", "project": "default"}),
    "TokenRequest": _one({"expires_in": "30d", "scopes": ["read", "jobs"], "tenant": "acme"}),
    "InvitationRequest": _one({"tenant": "acme", "role": "member", "email": "ada@example.org"}),
    "AcceptRequest": _one({"code": "lsi_" + "A" * 43, "name": "Ada Lovelace", "email": "ada@example.org"}),
    "SecretRequest": _one({"value": "never shown again", "tenant": "acme", "project": "default"}),
    "SignInRequest": _one({"token": "lst_" + "A" * 43}),
    "LoginRequest": _one({"client": "laptop"}),
    "LoginTokenRequest": _one({"device_code": "from POST /v1/login"}),
    "LoginConfirm": _one({"user_code": "ABCD-EFGH", "allow": True}),
}
ANSWERS: Final[dict[str, dict[str, Any]]] = {
    "Job": _one(
        {
            "id": "acme-42",
            "name": "train",
            "tenant": "acme",
            "project": "default",
            "user": _PERSON,
            "state": "running",
            "reason": "",
            "message": "",
            "exit_code": None,
            "signal": None,
            "resources": {"gpus": 8, "cpus": 16.0, "memory_gb": 64.0},
            "num_nodes": 1,
            "priority": 0,
            "max_duration_s": 14400.0,
            "submitted_at": "2026-11-20T08:00:00Z",
            "started_at": "2026-11-20T08:00:03Z",
            "ended_at": None,
            "runs": [],
            "usage": {
                "wall_s": 0.0, "gpu_s": 0.0, "cpu_s": 0.0, "wall_us": 0, "gpu_us": 0, "cpu_milli_us": 0,
            },
            "begin_at": None,
            "deadline": "2026-11-21T08:00:00Z",
            "after": ["acme-41:ok"],
            "held": False,
            "array": {"id": "acme-40", "index": 2, "size": 10},
            "pool": "aachen-h200",
            "site": "",
            "num_nodes_max": 0,
            "elastic": False,
            "booking": "",
            "forecast": None,
        }
    ),
    "PlanAnswer": _one(
        {
            "admitted": True,
            "reason": "",
            "asked": 0,
            "limit": 0,
            "resource": "",
            "message": "",
            "starts_now": False,
            "waits_for": "capacity",
            "tasks": [],
            "jobs_ahead": 2,
            "price": {"eur": None, "note": "no price plan is in force"},
            "budgets": [{"budget": "b1", "amount": 28_800_000_000, "unit": "gpu_us"}],
            "changes": [],
            "expected": "9f86d081884c7d65",
        }
    ),
    "SiteTest": _one(
        {
            "well": False,
            "checks": [
                {"name": "tools", "outcome": "ok", "said": "Slurm 22.05"},
                {
                    "name": "partition",
                    "outcome": "failed",
                    "said": "there is no partition leitstnd; there are leitstand, debug",
                },
                {"name": "nodes", "outcome": "skipped", "said": "partition has to be well first"},
            ],
        }
    ),
    "BlobAnswer": _one({"sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}),
    "Health": _one(
        {
            "status": "ok",
            "version": "0.3.0",
            "seq": 4711,
            "forecast": "ok",
            "twin": None,
            "turn": {
                "role": "leader",
                "leader": "https://one.example",
                "since_at": "2026-11-24T08:00:00Z",
                "epoch": 3,
                "members": [
                    {
                        "address": "https://one.example",
                        "role": "leader",
                        "behind": 0,
                        "silent_s": 0.4,
                        "note": "",
                    },
                    {
                        "address": "https://two.example",
                        "role": "standby",
                        "behind": 2,
                        "silent_s": 0.9,
                        "note": "",
                    },
                ],
                "as_of": "2026-11-24T09:00:00Z",
            },
        },
    ),
}  # fmt: skip
