# SPDX-License-Identifier: Apache-2.0
"""The REST API under /v1: requests go to the inbox, readings come from the follower's state and the views."""
