# SPDX-License-Identifier: Apache-2.0
"""How somebody becomes a tenant: the contract, applications, their examination, and how long records are kept."""
