# SPDX-License-Identifier: Apache-2.0
"""Who yields: what is covered of everybody's share, and acts that take capacity back."""
