# SPDX-License-Identifier: Apache-2.0
"""Who may do what: actions, roles, policies, tokens, sign-in. Called by the faces."""
