//! The Merkle tree of RFC 6962, section 2.1, kept as its right edge only: 32 bytes for each bit
//! that is set in the number of leaves.

use ring::digest::{Context, SHA256};

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// SHA-256 over several pieces.
pub(crate) fn sha256(pieces: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    for piece in pieces {
        context.update(piece);
    }
    finish(context)
}

fn finish(context: Context) -> Hash {
    context.finish().as_ref().try_into().unwrap_or_default()
}

/// Hash of a leaf: SHA-256(0x00 ‖ bytes).
pub fn leaf(bytes: &[u8]) -> Hash {
    sha256(&[&[0], bytes])
}

/// The hash of a leaf whose bytes come in pieces.
#[derive(Clone)]
pub(crate) struct Leaf(Context);

impl Default for Leaf {
    fn default() -> Self {
        let mut context = Context::new(&SHA256);
        context.update(&[0]);
        Self(context)
    }
}

impl std::fmt::Debug for Leaf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Leaf(..)")
    }
}

impl Leaf {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Hash {
        finish(self.0)
    }
}

/// Hash of an inner node: SHA-256(0x01 ‖ left ‖ right).
fn node(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

/// The right edge of a tree: hashes of its perfect subtrees, largest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    hashes: Vec<Hash>,
}

impl Frontier {
    /// Of a stored tree; `None` when the number of hashes does not fit `size`.
    pub fn of(size: u64, hashes: Vec<Hash>) -> Option<Self> {
        let fits = u32::try_from(hashes.len()).ok() == Some(size.count_ones());
        fits.then_some(Self { size, hashes })
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Hashes of the perfect subtrees, largest first.
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// Adds the leaf with this hash.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.hashes.pop() {
                hash = node(&left, &hash);
            }
        }
        self.hashes.push(hash);
        self.size += 1;
    }

    /// Root of the tree; SHA-256 of nothing for the empty one.
    pub fn root(&self) -> Hash {
        let mut edge = self.hashes.iter().rev();
        let Some(&last) = edge.next() else {
            return sha256(&[]);
        };
        edge.fold(last, |right, left| node(left, &right))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::text::{hex, unhex};

    /// Leaves and roots of the test tree used by Certificate Transparency implementations.
    const KNOWN: [(&str, &str); 8] = [
        (
            "",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        ),
        (
            "00",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        ),
        (
            "10",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        ),
        (
            "2021",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ),
        (
            "3031",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        ),
        (
            "40414243",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        ),
        (
            "5051525354555657",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        ),
        (
            "606162636465666768696a6b6c6d6e6f",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ),
    ];

    #[test]
    fn roots_are_those_of_rfc_6962() {
        let mut tree = Frontier::default();
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hex(&tree.root()), empty);
        for (bytes, root) in KNOWN {
            tree.push(leaf(&unhex(bytes).unwrap()));
            assert_eq!(hex(&tree.root()), root);
            let stored = Frontier::of(tree.size(), tree.hashes().to_vec()).unwrap();
            assert_eq!(stored, tree);
        }
        assert!(Frontier::of(3, vec![[0; 32]]).is_none());
    }

    /// The definition of RFC 6962, word for word, as the other implementation.
    fn defined(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => sha256(&[]),
            [one] => *one,
            more => {
                let split = more.len().next_power_of_two() / 2;
                node(&defined(&more[..split]), &defined(&more[split..]))
            }
        }
    }

    #[test]
    fn the_edge_agrees_with_the_definition() {
        let (mut tree, mut leaves) = (Frontier::default(), Vec::new());
        for number in 0..200_u64 {
            leaves.push(leaf(&number.to_be_bytes()));
            tree.push(leaf(&number.to_be_bytes()));
            assert_eq!(tree.root(), defined(&leaves));
        }
    }
}
