# SPDX-License-Identifier: Apache-2.0
"""Where a job queues, if several pools or shapes would do: who is eligible, what each counts for, who switches."""
