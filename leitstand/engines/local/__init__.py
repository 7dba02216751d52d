# SPDX-License-Identifier: Apache-2.0
"""The local engine: runs are processes on this machine, each kept by a small supervisor that outlives us."""
