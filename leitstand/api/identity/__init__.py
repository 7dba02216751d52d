# SPDX-License-Identifier: Apache-2.0
"""Who one is, who others are, and what they may: sign-in, people, roles, tokens, invitations, secrets, audit."""
