// A registered test that sleeps.
void sleeping() {
  std::this_thread::sleep_for(1);
}

// History: unheard.
TEST(Sleeping, Test) {}
