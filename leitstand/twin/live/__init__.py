# SPDX-License-Identifier: Apache-2.0
"""A simulated cloud that people watch and use: what `leitstand up --twin SCENARIO` is made of."""
