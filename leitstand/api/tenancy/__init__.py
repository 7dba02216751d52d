# SPDX-License-Identifier: Apache-2.0
"""Tenants and what is theirs: projects, budgets, legal identity, exit, export, erasure."""
