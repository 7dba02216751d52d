# SPDX-License-Identifier: Apache-2.0
"""Alerts: what people have to know at once, with cause and remedy, told by webhook and mail at least once each."""
