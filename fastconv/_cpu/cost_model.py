"""The cost models by which implementations and threads are chosen: every constant, one a line, with its unit.

What fixes bits stands elsewhere: blocks of sums in summation.py, and the tiles that are accurate enough in winograd.py.
"""

# Threads. Starting a second thread that still waits for work costs about as long as so many multiply-adds take on one
# (benchmarks/break_even.py); each further thread needs as many again.
WORTH_A_THREAD = 100_000  # multiply-adds
# What a layer counts as beside them:
ELEMENTWISE_WORK = 16  # multiply-adds that take as long as reading and writing an element
NORMALIZATION_WORK = 32  # multiply-adds that take as long as an element of local response normalization

# spatial: lanes hold neighboring pixels. More output channels fill vectors by themselves. Longer rows and larger banks
# of filters do not stay in the first and second cache beside the image.
SPATIAL_OUTPUTS = 15  # output channels, at most
SPATIAL_ROW = 128  # taps of a filter row, at most
SPATIAL_TERMS = 1 << 15  # elements of all filters, at most
# With several input channels, which are taken apart, and whose rows of terms are not split:
SPATIAL_DEPTH = 4  # input channels, at most
SPATIAL_OUTPUTS_DEEP = 7  # output channels, at most
SPATIAL_ROW_DEEP = 48  # terms of a filter row, at most

# The spatial method for gradients of filters. More input channels are neighbors enough; more outputs and taps take too
# much memory. Costs are cycles for each pixel with AVX2.
SPATIAL_GRADIENT_DEPTH = 16  # input channels, at most
SPATIAL_GRADIENT_OUTPUTS = 64  # output channels, at most
SPATIAL_GRADIENT_TAPS = 15  # taps along an axis, at most
SPATIAL_PRODUCT = 0.1  # cycles for a product
SPATIAL_BLOCK = 40  # cycles for adding up a block's lanes, for each product's sum
SPATIAL_STAGE = 0.5  # cycles for staging a channel

# outer_products, as a register tile of one or two vectors: each instruction, or the latency of one, bounds it.
OUTER_ROWS = 6  # terms of a register tile
OUTER_LANES = 8  # output channels of a vector
OUTER_PRODUCT = 1.1  # cycles for a term and a vector
OUTER_LEAST = 7.2  # cycles for a register tile, at least

# depthwise: every input channel is repeated for each of its filters. Longer rows are not summed in one piece. Rows that
# lie further apart need too much memory where they are staged.
DEPTHWISE_MULTIPLIER = 16  # filters for each channel, at most
DEPTHWISE_ROW = 128  # taps of a filter row, at most
DEPTHWISE_REACH = 256  # rows that a window reaches, at most

# narrow_groups: a vector has the outputs of several groups, and is made of as few input channels. Longer rows of terms
# are not summed in one piece in gradients. More elements in the rows that a window reaches do not stay in the caches.
NARROW_GROUPS = (2, 4)  # output channels of a group
NARROW_ROW = 48  # terms of a filter row, at most
NARROW_REACH = 1 << 16  # elements of the rows that a window reaches, at most

# per_group: below this, a call of its own costs what Winograd's tiles save.
PER_GROUP_CHANNELS = 20  # input or output channels of a group, at least

# kn2row: more output channels fill vectors well enough. Fewer input channels for each of them do not pay for adding up
# the taps. More taps and channels do not stay in the caches, unless a row's products and the packed filters are few.
KN2ROW_OUTPUTS = 7  # output channels, at most
KN2ROW_DEPTH = 4  # input channels for each output channel, at least
KN2ROW_PRODUCTS = 1024  # products of an input pixel, at most; more where both of the next hold
KN2ROW_ROW = 1 << 16  # products of a row, at most
KN2ROW_FILTERS = 1 << 20  # elements of all filters, at most

# A border split. A part costs whole tiles, and some more to have its filters packed and its tasks shared out.
BORDER_TILE_PIXELS = 6  # pixels of a tile
BORDER_PART_PIXELS = 8  # a part's own cost, in pixels
BORDER_GAIN = 1.05  # a smaller gain is lost again, as measured
BORDER_TAPS = 64  # taps along an axis that is cut, at most

# Winograd. Filters are transformed once a call: no choice may depend on the number of images.
WINOGRAD_TILE = 10  # multiply-adds to transform a cell of a tile, for each input or output channel
WINOGRAD_FILTER = 2.5  # multiply-adds to transform a cell of a filter
PACKING = 2.5  # pixels whose direct sums take as long as packing their filters
WINOGRAD_GAIN = 1.1  # smaller gains are not worth the error
WINOGRAD_GAIN_OF_OTHERS = 1.55  # of other filters than 3x3, whose tiles are more memory for each product
WINOGRAD_FEWEST_CHANNELS = 14  # fewer fill vectors badly
WINOGRAD_MOST_CHANNELS = 1 << 12  # of all sub-kernels, in whole blocks: a few tiles of more take 16 MB
# In gradients of filters:
WINOGRAD_GRADIENT_TILE = 8  # multiply-adds to transform a cell, for all terms or columns that share it
WINOGRAD_GRADIENT_BACK = 6  # multiply-adds to transform a sum to taps, for each cell, term and column
