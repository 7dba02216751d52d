# SPDX-License-Identifier: Apache-2.0
"""Leitstand: the control plane of a sovereign Industrial AI Cloud."""

__version__ = "0.1.0"
