# SPDX-License-Identifier: Apache-2.0
"""Projections of the journal for reading: jobs with their runs, and usage."""
