# SPDX-License-Identifier: Apache-2.0
"""Capacity that tenants book ahead: what bookings are, whether one can be had, who runs in them, and what is lost."""
