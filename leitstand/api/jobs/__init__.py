# SPDX-License-Identifier: Apache-2.0
"""Jobs: requests, plans, submissions, listings, logs, events, work directories; and the fleet they run on."""
