# SPDX-License-Identifier: Apache-2.0
"""The synthetic workload of an industrial AI cloud: parameters with their sources, a generator, the fit."""
