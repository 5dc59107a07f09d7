// Goal: jobs are what clients wait for. Method: the waiting loops of public clients, one per row of
// the facade's last table, against jobs that succeed at once or slowly and jobs that fail; then
// stopping, keeping and asking jobs.
#include <algorithm>

#include <gtest/gtest.h>

#include "service/world.h"

namespace varve::test {
namespace {

// What a client concludes; `waiting` means that it looks again.
enum class Verdict : std::uint8_t { waiting, success, failure };

struct Client {
  const char* name;
  Verdict (*look)(const JobDescription& job);
};

bool is_one_of(JobState state, std::initializer_list<int> numbers) {
  return std::ranges::find(numbers, static_cast<int>(state)) != numbers.end();
}

const Client kClients[] = {
    {"the old sample utility",
     [](const JobDescription& job) {
       if (is_one_of(job.job_state, {3, 4})) {
         return Verdict::waiting;
       }
       return is_one_of(job.job_state, {7}) ? Verdict::success : Verdict::failure;
     }},
    {"the PowerShell backup sample",
     [](const JobDescription& job) {
       if (is_one_of(job.job_state, {4})) {
         return Verdict::waiting;
       }
       return is_one_of(job.job_state, {7}) ? Verdict::success : Verdict::failure;
     }},
    {"os-win",
     [](const JobDescription& job) {
       if (!is_one_of(job.job_state, {7, 8, 9, 10, 32768})) {
         return Verdict::waiting;
       }
       const bool is_good = is_one_of(job.job_state, {7, 32768}) && job.error_code == 0;
       return is_good ? Verdict::success : Verdict::failure;
     }},
    {"libvirt",
     [](const JobDescription& job) {
       if (is_one_of(job.job_state, {2, 3, 4, 6})) {
         return Verdict::waiting;
       }
       return is_one_of(job.job_state, {7}) ? Verdict::success : Verdict::failure;
     }},
    {"microsoft/wmi",
     [](const JobDescription& job) {
       const bool goes_on = is_one_of(job.job_state, {2, 3, 4, 5, 6, 11, 12, 32768});
       if (goes_on && job.percent_complete < 100) {
         return Verdict::waiting;
       }
       return is_one_of(job.job_state, {8, 9, 10}) ? Verdict::failure : Verdict::success;
     }},
};

class Clients : public ::testing::TestWithParam<Client> {
 protected:
  World world{false};

  // Looks at the job whenever the work lets the client look: before it runs, at each piece of
  // state, after it. The first verdict counts, as it does in the client.
  Verdict follow(TestSystem& vm, const std::string& job) {
    Verdict verdict = Verdict::waiting;
    const auto look = [&] {
      if (verdict == Verdict::waiting) {
        const auto description = world.services->job(job);
        EXPECT_TRUE(description);
        verdict = GetParam().look(*description);
        ++looks;
      }
    };
    look();
    vm.provider.on_save = [&](std::size_t) { look(); };
    world.executor.run_all();
    EXPECT_EQ(verdict, Verdict::waiting) << "concluded before the end";
    look();
    return verdict;
  }
  std::string start(TestSystem& vm) {
    std::string created;
    std::string job;
    EXPECT_EQ(world.vs().create_snapshot(vm.path, "", 2, created, job), 4096u);
    return job;
  }
  unsigned looks = 0;
};

TEST_P(Clients, SeeASlowJobSucceed) {
  TestSystem& vm = world.system();
  vm.state = EnabledState::running;
  const std::string job = start(vm);
  EXPECT_EQ(follow(vm, job), Verdict::success);
  EXPECT_GT(looks, 4u);
  // os-win and Bareos go on from the job to the one snapshot.
  const auto elements = world.services->affected_elements(job);
  ASSERT_EQ(elements->size(), 1u);
  EXPECT_EQ(elements->front().effect, 5);
  EXPECT_TRUE(world.services->snapshot(elements->front().path));
}

TEST_P(Clients, SeeAQuickJobSucceed) {
  TestSystem& vm = world.system();
  EXPECT_EQ(follow(vm, start(vm)), Verdict::success);
}

TEST_P(Clients, SeeAJobFail) {
  TestSystem& vm = world.system();
  vm.state = EnabledState::running;
  vm.provider.save_error = error_of(ErrorCode::no_space);
  const std::string job = start(vm);
  EXPECT_EQ(follow(vm, job), Verdict::failure);
  // Bareos wants texts.
  const auto description = world.services->job(job);
  EXPECT_NE(description->error_description, "");
  EXPECT_EQ(description->error_summary_description, "Failed");
  EXPECT_NE(description->job_status, "");
}

TEST_P(Clients, SeeAJobStopped) {
  TestSystem& vm = world.system();
  const std::string job = start(vm);
  EXPECT_EQ(world.services->request_job_state_change(job, 4), 4096u);
  EXPECT_EQ(follow(vm, job), Verdict::failure);
}

INSTANTIATE_TEST_SUITE_P(Public, Clients, ::testing::ValuesIn(kClients),
                         [](const ::testing::TestParamInfo<Client>& client) {
                           std::string name = client.param.name;
                           std::erase_if(name, [](char c) { return std::isalnum(c) == 0; });
                           return name;
                         });

class Jobs : public ::testing::Test {
 protected:
  World world{false};
  TestSystem& vm = world.system();

  std::string start() {
    std::string created;
    std::string job;
    EXPECT_EQ(world.vs().create_snapshot(vm.path, "", 2, created, job), 4096u);
    EXPECT_EQ(created, "");
    return job;
  }
};

TEST_F(Jobs, RunUntilTheyEnd) {
  vm.state = EnabledState::running;
  const std::string job = start();
  auto description = *world.services->job(job);
  EXPECT_EQ(description.job_state, JobState::running);
  EXPECT_EQ(description.percent_complete, 0u);
  EXPECT_TRUE(description.cancellable);
  EXPECT_EQ(description.caption, "Snapshot Virtual Machine");
  EXPECT_EQ(description.time_submitted, "20261130005320.123456+000");
  EXPECT_EQ(description.removal_nanoseconds, 300'000'000'000u);
  std::vector<unsigned> percents;
  vm.provider.on_save = [&](std::size_t) {
    description = *world.services->job(job);
    EXPECT_EQ(description.job_state, JobState::running);
    percents.push_back(description.percent_complete);
  };
  world.executor.run_all();
  EXPECT_TRUE(std::ranges::is_sorted(percents));
  EXPECT_GT(percents.back(), percents.front()) << "it follows the state's transfer";
  EXPECT_LT(percents.back(), 100u);
  description = *world.services->job(job);
  EXPECT_EQ(description.job_state, JobState::completed);
  EXPECT_EQ(description.percent_complete, 100u);
  EXPECT_EQ(description.error_code, 0u);
  EXPECT_EQ(description.error_description, "");
  EXPECT_FALSE(description.cancellable);
  EXPECT_GT(description.elapsed_nanoseconds, 0u);
  EXPECT_EQ(world.services->jobs()->size(), 1u);
}

TEST_F(Jobs, StayForFiveMinutes) {
  const std::string job = start();
  world.clock.pass_seconds(1000);
  EXPECT_TRUE(world.services->job(job)) << "it has not ended";
  world.executor.run_all();
  world.clock.pass_seconds(299);
  EXPECT_TRUE(world.services->job(job));
  world.clock.pass_seconds(2);
  EXPECT_FALSE(world.services->job(job));
  EXPECT_TRUE(world.services->jobs()->empty());
}

TEST_F(Jobs, StopBeforeTheyRun) {
  const std::string job = start();
  EXPECT_EQ(world.services->request_job_state_change(job, 4), 4096u);
  world.executor.run_all();
  const auto description = *world.services->job(job);
  EXPECT_EQ(description.job_state, JobState::terminated);
  EXPECT_EQ(description.percent_complete, 100u);
  EXPECT_NE(description.error_code, 0u);
  EXPECT_EQ(World::entries(vm), (std::vector<std::size_t>{0, 0}));
  EXPECT_TRUE(world.services->affected_elements(job)->empty());
}

TEST_F(Jobs, StopWhileStateIsSaved) {
  vm.state = EnabledState::running;
  const std::string job = start();
  vm.provider.on_save = [&](std::size_t at) {
    if (at > 0) {
      world.services->request_job_state_change(job, 5);
    }
  };
  world.executor.run_all();
  EXPECT_EQ(world.services->job(job)->job_state, JobState::killed);
  EXPECT_EQ(World::entries(vm), (std::vector<std::size_t>{0, 0}));
  EXPECT_FALSE(vm.provider.is_quiesced);
  vm.provider.on_save = nullptr;
  EXPECT_TRUE(world.succeeded(world.create(vm.path, 2)));
}

TEST_F(Jobs, RequestStateChangeHasItsOwnCodes) {
  const std::string job = start();
  auto& services = *world.services;
  EXPECT_EQ(services.request_job_state_change("no", 4), 5u);
  EXPECT_EQ(services.request_job_state_change(std::nullopt, 4), 5u);
  for (const std::uint16_t state : std::initializer_list<std::uint16_t>{0, 1, 7, 65535}) {
    EXPECT_EQ(services.request_job_state_change(job, state), 5u) << state;
  }
  for (const std::uint16_t state : std::initializer_list<std::uint16_t>{2, 3, 6}) {
    EXPECT_EQ(services.request_job_state_change(job, state), 1u) << state;
  }
  EXPECT_EQ(services.request_job_state_change(job, 4, "00000000000010.000000:000"), 4098u);
  EXPECT_EQ(services.request_job_state_change(job, 4, "00000000000000.000000:000"), 4096u);
  EXPECT_EQ(services.request_job_state_change(job, 5), 4096u) << "it still runs";
  world.executor.run_all();
  EXPECT_EQ(services.request_job_state_change(job, 4), 4097u);
}

TEST_F(Jobs, GetErrorExTellsFailures) {
  vm.state = EnabledState::running;
  vm.provider.save_error = error_of(ErrorCode::no_space, "the store is full & more");
  const std::string failed = start();
  world.executor.run_all();
  std::vector<std::string> errors;
  EXPECT_EQ(world.services->job_errors(failed, errors), 0u);
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_EQ(errors[0].find("<INSTANCE CLASSNAME=\"Msvm_Error\"><PROPERTY NAME="), 0u);
  EXPECT_NE(errors[0].find("<VALUE>32768</VALUE>"), std::string::npos);
  EXPECT_NE(errors[0].find("the store is full &amp; more"), std::string::npos);
  EXPECT_EQ(errors[0].find('\n'), std::string::npos);

  vm.provider.save_error.reset();
  const std::string good = start();
  world.executor.run_all();
  EXPECT_EQ(world.services->job_errors(good, errors), 0u);
  EXPECT_TRUE(errors.empty());
  EXPECT_EQ(world.services->job_errors("no", errors), 5u);
}

TEST_F(Jobs, KeepASystemDefined) {
  start();
  EXPECT_EQ(world.services->remove_system(vm.path).error().code, ErrorCode::busy);
  world.executor.run_all();
  EXPECT_TRUE(world.services->remove_system(vm.path));
}

TEST_F(Jobs, OfDifferentSystemsQueue) {
  TestSystem& other = world.system(2, "other");
  const std::string first = start();
  std::string created;
  std::string second;
  EXPECT_EQ(world.vs().create_snapshot(other.path, "", 3, created, second), 4096u);
  EXPECT_EQ(world.vs().create_snapshot(vm.path, "", 3, created, second), 5u);
  world.executor.run_all();
  EXPECT_EQ(world.services->jobs()->size(), 2u);
  const auto jobs = world.services->jobs();
  for (const JobDescription& job : *jobs) {
    EXPECT_EQ(job.job_state, JobState::completed);
  }
}

TEST(Services, OptionsAreChecked) {
  const auto code = [](const ServiceOptions& options) {
    const auto made = SnapshotServices::create(options);
    return made ? std::optional<ErrorCode>() : made.error().code;
  };
  TestExecutor executor;
  ServiceOptions options;
  EXPECT_EQ(code(options), ErrorCode::invalid_argument) << "nobody runs jobs";
  options.synchronous = true;
  EXPECT_EQ(code(options), std::nullopt);
  options.executor = &executor;
  EXPECT_EQ(code(options), std::nullopt);
  options.own_thread = true;
  EXPECT_EQ(code(options), ErrorCode::invalid_argument) << "two who run jobs";
  options.own_thread = false;
  options.job_retention_seconds = 299;
  EXPECT_EQ(code(options), ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace varve::test
