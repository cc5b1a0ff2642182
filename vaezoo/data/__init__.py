"""Pictures to learn from: in memory or in files, one batch at a time on the right device.

====================  ==========================================  =====================
name                  what                                        needs
====================  ==========================================  =====================
`digits`              10,000 + 2,000 MNIST digits                 nothing, they ship
`colour_digits`       coloured scenes in the spirit of SVHN       nothing
`sprites`             shapes of five independent factors          nothing
`mnist`               60,000 + 10,000 digits                      a download
`fashion_mnist`       60,000 + 10,000 articles of clothing        a download
`svhn`                73,257 + 26,032 house numbers in colour     a download
`Images`              your own uint8 tensor or NumPy array        nothing
`Moved`               images turned and shifted at random         one of the above
`Moves`               the same of tensors                         floats (n, C, H, W)
`Stream`              files of images larger than memory          `write_shards`
`spread_labels`       labels of a few images, spread to others    two of the above
`strokes`             features of digits to spread labels by      floats (n, 1, H, W)
`semi_supervised`     unlabelled and labelled batches, side by    two of the above
                      side
====================  ==========================================  =====================

The other files:

    binarising                          how bytes become x in [0, 1]
    passes, positions, image_pass       as many passes over data as training takes, and where it is
    single_passes, sources              one pass over data of any kind, and what a loader reads
    shards, blocks, windows, writing    files of images, their order, what of them is in memory
    places                              where a stream is, in numbers
    maps                                arrays that are mapped from files
    semi_streamed                       labelled images beside such files
    neighbours                          nearest rows, and what spreads among them
    columns                             numbers, many of them in a file
    shares                              each process's rows of a batch
    factored                            images that know what they were made from
    full_precision                      their making, the same inside an autocast
    batches, labels, pixels             what people hand over, made tensors or refused
    counts, indices                     the same for whole numbers and for indices
    files                               files that are whole or not there
    bars                                progress bars
    downloads, patience, _torchvision   official files, fetched once
    locks                               one process at a time
    idx, mat                            the formats of MNIST's and of SVHN's files
    make_digits                         the script that made the digits that ship
"""

from vaezoo.data.colour_digits import ColourDigits, colour_digits
from vaezoo.data.digits import digits
from vaezoo.data.images import Images
from vaezoo.data.mnist import fashion_mnist, mnist
from vaezoo.data.moved import Moved
from vaezoo.data.moves import Moves
from vaezoo.data.semi_streamed import SemiSupervisedStream
from vaezoo.data.semi_supervised import SemiSupervisedBatches, semi_supervised
from vaezoo.data.spreading import spread_labels
from vaezoo.data.sprites import Sprites, sprites
from vaezoo.data.stream import Stream
from vaezoo.data.strokes import strokes
from vaezoo.data.svhn import svhn
from vaezoo.data.writing import write_shards

__all__ = [
    "ColourDigits",
    "Images",
    "Moved",
    "Moves",
    "SemiSupervisedBatches",
    "SemiSupervisedStream",
    "Sprites",
    "Stream",
    "colour_digits",
    "digits",
    "fashion_mnist",
    "mnist",
    "semi_supervised",
    "spread_labels",
    "sprites",
    "strokes",
    "svhn",
    "write_shards",
]
