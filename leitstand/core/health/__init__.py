# SPDX-License-Identifier: Apache-2.0
"""Nodes and GPUs that are not well: what was reported, what follows, and how a node comes back."""
