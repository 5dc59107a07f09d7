#include "interop/workbench.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include <varve/check.h>

namespace varve::interop {
namespace {

constexpr const char* kBackingName = "backing";
constexpr const char* kDataFileName = "data.raw";

void expect_success(const model::CommandResult& result, const Peer& peer, const char* what) {
  EXPECT_EQ(result.status, 0) << what << " by " << peer.name() << ":\n" << result.output;
}

std::string range(const Step& step) {
  return std::to_string(step.offset) + " " + std::to_string(step.length);
}

}  // namespace

Workbench::Workbench(const Case& example) : example_(example) {
  Result<std::unique_ptr<Engine>> engine = Engine::create();
  EXPECT_TRUE(engine.has_value());
  engine_ = engine ? std::move(*engine) : nullptr;
  if (example.kind == Kind::backing) {
    make_backing();
  }
}

void Workbench::write_file(const std::string& name, const Content& content) {
  std::ofstream file(folder_.file(name), std::ios::binary | std::ios::trunc);
  // Plain bytes; the stream's own type differs.
  file.write(static_cast<const char*>(static_cast<const void*>(content.data())),
             static_cast<std::streamsize>(content.size()));
  EXPECT_TRUE(file.flush().good());
}

std::string Workbench::pattern_file(unsigned seed) {
  const std::string name = "pattern-" + std::to_string(seed);
  if (!std::filesystem::exists(folder_.file(name))) {
    write_file(name, pattern_of(seed));
  }
  return folder_.file(name);
}

void Workbench::make_backing() {
  const Content content = backing_content(example_);
  if (example_.backing_format() == std::string_view("raw")) {
    write_file(kBackingName, content);
    return;
  }
  CreateOptions options;
  options.size_bytes = content.size();
  VARVE_EXPECT_OK(create_image(*engine_, path(kBackingName), options));
  OpenOptions open_options;
  open_options.writable = true;
  auto image = Image::open(*engine_, path(kBackingName), open_options);
  ASSERT_TRUE(image.has_value()) << describe(image.error());
  VARVE_EXPECT_OK((*image)->write(0, content));
  VARVE_EXPECT_OK((*image)->close());
}

void Workbench::create_by_varve() {
  VARVE_EXPECT_OK(create_image(*engine_, image_path(),
                               create_options(example_, kBackingName, path(kDataFileName))));
}

void Workbench::create_by(const Peer& peer) {
  // QEMU looks for a data file of a relative name in the working folder, Varve beside the image.
  const std::string options = qemu_options(example_, kBackingName, path(kDataFileName));
  expect_success(peer.img({"create", "-q", "-f", "qcow2", "-o", options, image_path(),
                           std::to_string(example_.disk_bytes())}),
                 peer, "create");
}

std::unique_ptr<Image> Workbench::open(bool writable) {
  OpenOptions options;
  options.writable = writable;
  options.file.fsync = false;  // As for QEMU.
  Result<std::unique_ptr<Image>> image = Image::open(*engine_, image_path(), options);
  EXPECT_TRUE(image.has_value()) << describe(image.error());
  return image ? std::move(*image) : nullptr;
}

void Workbench::run_on(Image& image, const Script& script) {
  for (const Step& step : script) {
    SCOPED_TRACE("step " + std::to_string(&step - script.data()) + " at " + range(step));
    switch (step.action) {
      case Step::Action::write:
        VARVE_EXPECT_OK(image.write(step.offset, filled(step.seed, step.length)));
        break;
      case Step::Action::write_compressed:
        for (std::uint64_t done = 0; done < step.length; done += example_.cluster_bytes) {
          const Content whole = filled(step.seed, step.length);
          const std::uint64_t length =
              std::min<std::uint64_t>(example_.cluster_bytes, step.length - done);
          VARVE_EXPECT_OK(
              image.write_compressed(step.offset + done, std::span(whole).subspan(done, length)));
        }
        break;
      case Step::Action::zero:
      case Step::Action::zero_unmap:
        VARVE_EXPECT_OK(
            image.write_zeroes(step.offset, step.length, step.action == Step::Action::zero_unmap));
        break;
      case Step::Action::discard:
        VARVE_EXPECT_OK(image.discard(step.offset, step.length));
        break;
      case Step::Action::flush:
        VARVE_EXPECT_OK(image.flush());
        break;
      case Step::Action::grow:
        VARVE_EXPECT_OK(image.grow(step.offset));
        break;
    }
  }
}

void Workbench::run_by_varve(const Script& script) {
  const std::unique_ptr<Image> image = open(true);
  ASSERT_NE(image, nullptr);
  run_on(*image, script);
  VARVE_EXPECT_OK(image->close());
}

void Workbench::run_by(const Peer& peer, const Script& script) {
  // What is asked here is what stands in the file, not what survives a power cut.
  std::vector<std::string> arguments = {"-f", "qcow2", "-d", "unmap", "-t", "unsafe"};
  for (const Step& step : script) {
    std::string command;
    switch (step.action) {
      case Step::Action::write:
        command = "write -s " + pattern_file(step.seed) + " " + range(step);
        break;
      case Step::Action::write_compressed:
        command = "write -c -s " + pattern_file(step.seed) + " " + range(step);
        break;
      case Step::Action::zero:
        command = "write -z " + range(step);
        break;
      case Step::Action::zero_unmap:
        command = "write -z -u " + range(step);
        break;
      case Step::Action::discard:
        command = "discard " + range(step);
        break;
      case Step::Action::flush:
        command = "flush";
        break;
      case Step::Action::grow:
        command = "truncate " + std::to_string(step.offset);
        break;
    }
    arguments.emplace_back("-c");
    arguments.push_back(command);
  }
  arguments.push_back(image_path());
  const model::CommandResult result = peer.io(arguments);
  expect_success(result, peer, "qemu-io");
  EXPECT_EQ(result.output.find("failed"), std::string::npos) << result.output;
}

void Workbench::expect_content(Image& image, const Content& content, std::string_view what) {
  ASSERT_EQ(image.size(), content.size()) << what;
  Content read(content.size());
  VARVE_EXPECT_OK(image.read(0, read));
  if (read == content) {
    return;
  }
  const auto [wrong, right] = std::ranges::mismatch(read, content);
  ADD_FAILURE() << what << " differs from the model at " << wrong - read.begin() << ": "
                << std::to_integer<int>(*wrong) << " instead of " << std::to_integer<int>(*right);
}

void Workbench::expect_clean(Image& image) {
  const Result<CheckReport> report = check(image);
  ASSERT_TRUE(report.has_value()) << describe(report.error());
  EXPECT_EQ(report->leaks, 0u);
  EXPECT_EQ(report->corruptions, 0u);
  EXPECT_EQ(report->failures, 0u);
  for (const Finding& finding : report->findings) {
    ADD_FAILURE() << corruption_name(finding.reason) << " at " << finding.offset << " about "
                  << finding.host_offset << ": " << finding.found << " instead of "
                  << finding.expected;
  }
}

void Workbench::expect_by_varve(const Content& content) {
  const std::unique_ptr<Image> image = open(false);
  ASSERT_NE(image, nullptr);
  expect_clean(*image);
  expect_content(*image, content, "as Varve reads it, the image");
  VARVE_EXPECT_OK(image->close());
}

void Workbench::expect_clean_by(const Peer& peer) {
  expect_success(peer.img({"check", "-f", "qcow2", image_path()}), peer, "check");
}

void Workbench::expect_by(const Peer& peer, const Content& content) {
  expect_clean_by(peer);
  write_file("model.raw", content);
  const model::CommandResult result =
      peer.img({"compare", "-f", "qcow2", "-F", "raw", image_path(), path("model.raw")});
  expect_success(result, peer, "compare");
  EXPECT_EQ(result.output.find("mismatch"), std::string::npos) << result.output;
}

void Workbench::expect_snapshot_by(const Peer& peer, const std::string& name,
                                   const Content& content) {
  const std::string target = path("snapshot.raw");
  expect_success(peer.img({"convert", "-f", "qcow2", "-O", "raw", "-l", "snapshot.name=" + name,
                           image_path(), target}),
                 peer, "convert -l");
  std::ifstream file(target, std::ios::binary);
  Content found(content.size() + 1);
  file.read(static_cast<char*>(static_cast<void*>(found.data())),
            static_cast<std::streamsize>(found.size()));
  found.resize(static_cast<std::size_t>(file.gcount()));
  EXPECT_TRUE(found == content) << "snapshot " << name << " as " << peer.name() << " reads it";
}

}  // namespace varve::interop
