#include "sim/sparse_bytes.h"

#include <algorithm>
#include <cstdio>

#include "base/checked.h"

namespace varve::sim {

SparseBytes SparseBytes::clone() const {
  SparseBytes copy;
  for_each_page([&](std::uint64_t offset, ConstBytes bytes) { copy.write(offset, bytes); });
  copy.size_ = size_;
  return copy;
}

const SparseBytes::Page* SparseBytes::find_page(std::uint64_t index) const {
  for (const SparseBytes* layer = this; layer != nullptr; layer = layer->base_) {
    const auto found = layer->pages_.find(index);
    if (found != layer->pages_.end()) {
      return found->second.get();
    }
  }
  return nullptr;
}

SparseBytes::Page& SparseBytes::make_page(std::uint64_t index) {
  const auto found = pages_.find(index);
  if (found != pages_.end() && found->second != nullptr) {
    return *found->second;
  }
  const Page* seen = find_page(index);
  auto page = seen != nullptr ? std::make_unique<Page>(*seen) : std::make_unique<Page>();
  Page& result = *page;
  pages_[index] = std::move(page);
  return result;
}

void SparseBytes::zero_page(std::uint64_t index) {
  if (base_ != nullptr && base_->find_page(index) != nullptr) {
    pages_[index] = nullptr;
  } else {
    pages_.erase(index);
  }
}

void SparseBytes::read(std::uint64_t offset, Bytes target) const {
  while (!target.empty()) {
    const std::uint64_t inside = offset % kPageBytes;
    const auto length =
        static_cast<std::size_t>(std::min<std::uint64_t>(target.size(), kPageBytes - inside));
    const Page* page = find_page(offset / kPageBytes);
    if (page == nullptr) {
      zero_bytes(target.first(length));
    } else {
      copy_bytes(target.first(length),
                 ConstBytes(*page).subspan(static_cast<std::size_t>(inside), length));
    }
    target = target.subspan(length);
    offset += length;
  }
}

void SparseBytes::write(std::uint64_t offset, ConstBytes source) {
  while (!source.empty()) {
    const std::uint64_t inside = offset % kPageBytes;
    const auto length =
        static_cast<std::size_t>(std::min<std::uint64_t>(source.size(), kPageBytes - inside));
    Page& page = make_page(offset / kPageBytes);
    copy_bytes(Bytes(page).subspan(static_cast<std::size_t>(inside), length), source.first(length));
    source = source.subspan(length);
    offset += length;
    size_ = std::max(size_, offset);
  }
}

std::vector<std::uint64_t> SparseBytes::pages_between(std::uint64_t first,
                                                      std::uint64_t last) const {
  std::vector<std::uint64_t> indexes;
  for (const SparseBytes* layer = this; layer != nullptr; layer = layer->base_) {
    for (const auto& [index, page] : layer->pages_) {
      if (index >= first && index < last) {
        indexes.push_back(index);
      }
    }
  }
  std::sort(indexes.begin(), indexes.end());
  indexes.erase(std::unique(indexes.begin(), indexes.end()), indexes.end());
  return indexes;
}

void SparseBytes::zero(std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t end = std::min(size_, checked_add(offset, length).value_or(size_));
  const auto zero_inside = [this](std::uint64_t from, std::uint64_t to) {
    if (from < to && find_page(from / kPageBytes) != nullptr) {
      Page& page = make_page(from / kPageBytes);
      zero_bytes(Bytes(page).subspan(static_cast<std::size_t>(from % kPageBytes),
                                     static_cast<std::size_t>(to - from)));
    }
  };
  if (offset >= end) {
    return;
  }
  const std::uint64_t first = divide_up(offset, kPageBytes);
  const std::uint64_t last = end == size_ ? divide_up(end, kPageBytes) : end / kPageBytes;
  if (first > last || (first == last && end < first * kPageBytes)) {
    zero_inside(offset, end);
    return;
  }
  zero_inside(offset, std::min(end, first * kPageBytes));
  if (last - first <= 4) {
    for (std::uint64_t index = first; index < last; ++index) {
      zero_page(index);
    }
  } else {
    for (const std::uint64_t index : pages_between(first, last)) {
      zero_page(index);
    }
  }
  zero_inside(std::max(offset, last * kPageBytes), end);
}

void SparseBytes::resize(std::uint64_t size) {
  if (size < size_) {
    zero(size, size_ - size);
  }
  size_ = size;
}

std::vector<std::byte> SparseBytes::flat() const {
  std::vector<std::byte> bytes(static_cast<std::size_t>(size_));
  for_each_page([&](std::uint64_t offset, ConstBytes page) {
    copy_bytes(Bytes(bytes).subspan(static_cast<std::size_t>(offset), page.size()), page);
  });
  return bytes;
}

void SparseBytes::for_each_page(
    const std::function<void(std::uint64_t offset, ConstBytes bytes)>& visit) const {
  for (const std::uint64_t index : pages_between(0, divide_up(size_, kPageBytes))) {
    const Page* page = find_page(index);
    if (page != nullptr) {
      const std::uint64_t offset = index * kPageBytes;
      visit(offset, ConstBytes(*page).first(static_cast<std::size_t>(
                        std::min<std::uint64_t>(kPageBytes, size_ - offset))));
    }
  }
}

bool SparseBytes::save(const std::string& path) const {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) {
    return false;
  }
  bool good = true;
  for_each_page([&](std::uint64_t offset, ConstBytes bytes) {
    good = good && std::fseek(file, static_cast<long>(offset), SEEK_SET) == 0 &&
           std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
  });
  // The last byte gives the file its size where the end is a hole.
  if (good && size_ > 0) {
    std::array<std::byte, 1> last{};
    read(size_ - 1, last);
    good = std::fseek(file, static_cast<long>(size_ - 1), SEEK_SET) == 0 &&
           std::fwrite(last.data(), 1, 1, file) == 1;
  }
  return std::fclose(file) == 0 && good;
}

}  // namespace varve::sim
