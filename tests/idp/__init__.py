# SPDX-License-Identifier: Apache-2.0
"""An identity provider for tests: a real process that speaks OpenID Connect over HTTP on loopback."""
