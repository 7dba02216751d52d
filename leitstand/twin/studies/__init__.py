# SPDX-License-Identifier: Apache-2.0
"""Studies of rules: the same jobs under several rules, played, judged, and told on one page."""
