# SPDX-License-Identifier: Apache-2.0
"""What never enters the journal: erasable records and blobs."""
