# SPDX-License-Identifier: Apache-2.0
"""Who gets how much: entitlements, shares, promises by count, and the plan of the discipline `fair`."""
